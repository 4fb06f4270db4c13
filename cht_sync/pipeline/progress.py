"""What the log says of how far an input is: now and then while there is a backlog, and once when it is gone.

Never more often than every SAY_EVERY seconds, so the lines grow with the time and not with the documents.
"""

from __future__ import annotations

import logging
import time

from cht_sync.logs import fields, short_sequence
from cht_sync.pipeline.contracts import Position
from cht_sync.pipeline.monitor.metrics import InputMetrics

log = logging.getLogger(__name__)

SAY_EVERY = 30.0
"""Seconds between two lines."""


class Progress:
    """Of one input since it began to read; one that knows no backlog has nothing to say."""

    def __init__(self, name: str, counts: InputMetrics) -> None:
        self._name = name
        self._counts = counts
        self._began = self._said_at = time.monotonic()
        self._documents = self._said_documents = 0
        self._is_behind = True
        """Until it has caught up for the first time, and again whenever a backlog has lasted SAY_EVERY."""

    def stored(self, documents: int, position: Position | None) -> None:
        """A batch is safe."""
        self._documents += documents
        if not self._counts.knows_backlog:
            return
        backlog = self._counts.backlog()
        now = time.monotonic()
        if not backlog.seconds and not backlog.pending:
            if self._is_behind:
                self._say_caught_up(now)
            self._began = self._said_at = now
            self._documents = self._said_documents = 0
        elif now - self._said_at >= SAY_EVERY and (self._is_behind or backlog.seconds >= SAY_EVERY):
            self._is_behind = True
            self._say_progress(now, backlog.pending, backlog.seconds, position)

    def _say_progress(self, now: float, pending: int, behind: float, position: Position | None) -> None:
        rate = (self._documents - self._said_documents) / (now - self._said_at)
        self._said_at, self._said_documents = now, self._documents
        sequence = None if position is None else position.sequence
        log.info(
            "%s: %d documents stored, %d pending, %.0f a second%s",
            self._name,
            self._documents,
            pending,
            rate,
            f", at {short_sequence(sequence)}" if sequence else "",
            extra=fields(
                event="progress",
                pipeline=self._name,
                source=self._counts.source,
                sequence=sequence,
                documents=self._documents,
                pending=pending,
                behind_seconds=behind,
                documents_per_second=rate,
            ),
        )

    def _say_caught_up(self, now: float) -> None:
        self._is_behind = False
        log.info(
            "%s: caught up with %d documents in %.1f s",
            self._name,
            self._documents,
            now - self._began,
            extra=fields(
                event="caught_up",
                pipeline=self._name,
                source=self._counts.source,
                documents=self._documents,
                duration_seconds=now - self._began,
            ),
        )
