"""Where the thread that reads the feed meets the one that delivers it.

A bounded place for one batch. While a batch is on its way, the next one gathers here; so a batch is
whatever has arrived, and its size follows the load by itself. A full place makes the reader wait:
that is the back-pressure.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from cht_sync.pipeline.contracts import Position, Rejected
from cht_sync.pipeline.event import Event

MEANWHILE = 15.0
"""Seconds after which a reader that waits for room does something else for a moment."""


def _nothing() -> None:
    return None


@dataclass
class Gathered:
    """Changes in the order of the feed, only the last one of each document."""

    events: dict[str, Event] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    position: Position | None = None
    size: int = 0
    """Bytes of the documents."""
    changes: int = 0
    """Changes that the reader has handed over, superseded ones too."""
    caught_up: bool = False
    """Whether this reaches to where the feed ended when it was asked."""

    def add(self, document_id: str, event: Event, size: int) -> None:
        """Append a change; an earlier one of the same document is superseded by it."""
        self._supersede(document_id)
        self.events[document_id] = event
        self.size += size

    def reject(self, change: Rejected) -> None:
        """Append a change that became no event; it supersedes earlier ones too."""
        if change.document_id is not None:
            self._supersede(change.document_id)
        self.rejected.append(change)

    def __len__(self) -> int:
        return len(self.events) + len(self.rejected)

    def absorb(self, later: Gathered) -> None:
        """Append all of `later`."""
        for document_id, event in later.events.items():
            self.add(document_id, event, 0)
        for change in later.rejected:
            self.reject(change)
        self.position = later.position or self.position
        self.caught_up |= later.caught_up
        self.size += later.size
        self.changes += later.changes

    def _supersede(self, document_id: str) -> None:
        self.events.pop(document_id, None)
        if self.rejected:
            self.rejected = [one for one in self.rejected if one.document_id != document_id]


class Handoff:
    """A place for at most `most_events` changes or `most_bytes` bytes of documents (and one portion more).

    Who takes waits `fill` seconds for it to fill once something is there; by default not at all.
    """

    def __init__(self, most_events: int, most_bytes: int, fill: float = 0.0) -> None:
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._fill = fill
        self._wanted = False
        """Whether somebody waits for room."""
        self._waiting = Gathered()
        self._changed = threading.Condition()
        self._closed = False
        self._ended = False
        self._failure: Exception | None = None

    def put(self, portion: Gathered, meanwhile: Callable[[], None] = _nothing) -> bool:
        """Wait until there is room, then add; True if it had to wait, that is, if we are behind.

        `meanwhile` is called every MEANWHILE seconds of that.
        """
        with self._changed:
            behind = self._wanted = not self._has_room(portion)
            if behind:
                self._changed.notify_all()
        while not self._await_room(portion):
            meanwhile()
        with self._changed:
            self._wanted = False
            self._waiting.absorb(portion)
            self._changed.notify_all()
            return behind

    def take(self, timeout: float) -> Gathered | None:
        """Wait for something and take all of it; empty after `timeout` seconds, None when closed or ended.

        Raises the error with which the reader has given up, once all before it has been taken.
        """
        with self._changed:
            self._changed.wait_for(self._has_news, timeout)
            if self._fill and len(self._waiting):
                self._changed.wait_for(self._is_full, self._fill)
            if self._closed:
                return None
            if not len(self._waiting) and self._failure is not None:
                raise self._failure
            if self._ended and not len(self._waiting) and self._waiting.position is None:
                return None
            taken, self._waiting = self._waiting, Gathered()
            self._changed.notify_all()
            return taken

    def fail(self, error: Exception) -> None:
        """The reader gives up."""
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def end(self) -> None:
        """Nothing more comes; what waits can still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether the end was reached, which is more than being closed."""
        return self._ended and not self._closed

    def close(self) -> None:
        """Nobody will take any more; a waiting reader goes on at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_news(self) -> bool:
        waiting = self._waiting
        return bool(self._closed or self._ended or self._failure or len(waiting) or waiting.position)

    def _is_full(self) -> bool:
        return bool(
            self._closed
            or self._ended
            or self._failure
            or self._wanted
            or len(self._waiting) >= self._most_events
            or self._waiting.size >= self._most_bytes
        )

    def _await_room(self, portion: Gathered) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or self._has_room(portion), MEANWHILE)

    def _has_room(self, portion: Gathered) -> bool:
        waiting = self._waiting
        if not len(waiting):
            return True
        return (
            len(waiting) + len(portion) <= self._most_events
            and waiting.size + portion.size <= self._most_bytes
        )
