"""What is counted of one plugin, and the problem for which it waits.

Units and moments are those of `metrics`.
"""

from __future__ import annotations

import re
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Reason = Literal["unavailable", "misconfigured", "refused", "timeout", "internal", "superseded"]
"""Why a request failed; what each means for the batch is in errors.py."""
REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LONGEST_PROBLEM = 500
"""Characters of a problem's text that are kept."""

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")


def presentable(problem: str) -> str:
    """Return a problem's text without credentials of addresses, and not too long."""
    return _CREDENTIALS.sub("", problem)[:LONGEST_PROBLEM]


@dataclass(frozen=True)
class Problem:
    """Why something waits. `serious` problems wait for an operator, the others mend themselves."""

    text: str
    serious: bool
    since_at: float


class Problems:
    """The problem of one plugin; it keeps the moment at which the first of a row of problems began."""

    def __init__(self) -> None:
        self.current: Problem | None = None

    def set(self, text: str, *, serious: bool) -> None:
        """Remember it, without credentials of addresses."""
        before = self.current
        text = presentable(text)
        self.current = Problem(text, serious, time.time() if before is None else before.since_at)

    def clear(self) -> None:
        self.current = None


class Histogram:
    """How often a value was at most each of some bounds; whoever observes holds a lock."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """The last one is of what is above all bounds."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class PluginMetrics:
    """What one plugin has done: events in and out, and the time that it took."""

    def __init__(self, kind: str, name: str, id: str, *, shown: bool = True) -> None:
        self.kind = kind
        self.name = name
        self.id = id
        self.shown = shown
        self.events_in = 0
        self.events_out = 0
        self.duration = 0
        self.lock = threading.Lock()

    def worked(self, events_in: int, events_out: int, duration: int) -> None:
        """Count a batch that has gone through the plugin."""
        with self.lock:
            self.events_in += events_in
            self.events_out += events_out
            self.duration += duration


@dataclass(frozen=True)
class Backlog:
    """How far an input is behind its source.

    `pending` changes are not acknowledged, as far as this process knows: those that it has read, and what
    the source said was behind them. There may be more. `seconds` is 0 when nothing waits, else the time
    since nothing waited for the last time; at most as long as this process lives.
    """

    pending: int
    seconds: float


class InputMetrics(PluginMetrics):
    """What an input has read, how far it is behind, and how its connection is.

    An input that knows no backlog calls none of the methods for it and is behind by the batch that is being
    delivered, since that was read. One that says when it connects says too when its problem is over; that of
    any other is over when events come.
    """

    def __init__(self, kind: str, name: str, id: str, *, shown: bool = True) -> None:
        super().__init__(kind, name, id, shown=shown)
        self.source: str | None = None
        """`<host>/<database>`, where the input has one."""
        self.claimed = False
        """Whether this pipeline is the one writer of the source, where there has to be one."""
        self.superseded = False
        """Whether another writer has taken over, until this pipeline is the writer once more."""
        self.sequence: str | None = None
        """Up to where the changes are stored."""
        self.reading = False
        self.queue_push = 0
        self.bytes = 0
        self.reconnects = 0
        self.problem = Problems()
        self._stored: float | None = None
        self._outstanding = 0
        self._at_the_source = 0
        self._is_at_end = True
        self._knows_backlog = False
        self._behind_since: float | None = None
        self._says_when_connected = False
        self._in_hand = 0
        self._in_hand_since = 0.0

    def read(self, events: int) -> None:
        """Count a batch that the engine has taken from the input."""
        with self.lock:
            self.events_out += events
            self._in_hand, self._in_hand_since = events, time.monotonic()
            if events and not self._says_when_connected:
                self.problem.clear()

    def delivered(self, sequence: str | None = None) -> None:
        """The batch that was taken is safe, and so is the position after it."""
        with self.lock:
            self._in_hand = 0
            self._is_stored_to(sequence)

    def claims(self, sequence: str | None) -> None:
        """This pipeline is the writer now, and goes on after `sequence`."""
        with self.lock:
            self.claimed, self.superseded = True, False
            self._is_stored_to(sequence)

    def loses_claim(self) -> None:
        """Another writer has taken over."""
        with self.lock:
            self.claimed, self.superseded = False, True

    def started(self) -> None:
        """Reading begins, maybe once more: what was not acknowledged will be read again."""
        with self.lock:
            self.reading = True
            self._outstanding = 0

    def stopped(self, problem: str | None = None) -> None:
        """Nothing is read; with a problem, until an operator or another writer has mended that."""
        with self.lock:
            self.reading = False
            self._in_hand = 0
            if problem is not None:
                self.problem.set(problem, serious=True)
                self._lose_sight()

    def connecting(self) -> None:
        """Nothing is known of the source before it has answered."""
        with self.lock:
            self._says_when_connected = True
            self.reading = False
            self._lose_sight()

    def connected(self) -> None:
        """The source answers."""
        if not self.reading or self.problem.current is not None:
            with self.lock:
                self.reading = True
                self.problem.clear()

    def lost(self, problem: str, *, serious: bool = False) -> None:
        """The source does not answer; it will be asked again."""
        with self.lock:
            self.reading = False
            self.reconnects += 1
            self.problem.set(problem, serious=serious)
            self._lose_sight()

    def reconnected(self) -> None:
        """A feed has ended in order and is asked for once more."""
        with self.lock:
            self.reconnects += 1

    def offered(self, changes: int, size: int, *, behind: int | None, at_end: bool) -> None:
        """Changes were read and wait for the engine.

        `behind` more wait at the source, None where it did not say now.
        """
        with self.lock:
            self.bytes += size
            self._knows_backlog = True
            self._outstanding += changes
            self._at_the_source = max(0, self._at_the_source - changes) if behind is None else behind
            self._is_at_end = at_end
            if not self._outstanding and at_end:
                self._behind_since = None
            elif self._behind_since is None:
                self._behind_since = time.monotonic()

    def waits_at_the_source(self, changes: int) -> None:
        """So many changes come after those that were read."""
        with self.lock:
            self._at_the_source = changes
            self._is_at_end = self._is_at_end and not changes

    def pushed(self, duration: int) -> None:
        """Count the time that it took until the engine had room."""
        with self.lock:
            self.queue_push += duration

    def acknowledged(self, changes: int) -> None:
        """So many of the changes that were offered are safe."""
        with self.lock:
            self._outstanding = max(0, self._outstanding - changes)
            if not self._outstanding and self._is_at_end:
                self._behind_since = None

    @property
    def knows_backlog(self) -> bool:
        """Whether it says what waits at the source."""
        return self._knows_backlog

    def seconds_since_stored(self) -> float | None:
        """Since its position was stored, also if nothing had changed; None before the first time."""
        stored = self._stored
        return None if stored is None else time.monotonic() - stored

    def backlog(self) -> Backlog:
        """Return how far the input is behind now."""
        with self.lock:
            pending = self._outstanding + (0 if self._is_at_end else self._at_the_source)
            since = self._behind_since
            if self._in_hand and not self._knows_backlog:
                pending, since = self._in_hand, self._in_hand_since
        return Backlog(pending, 0.0 if since is None else max(0.0, time.monotonic() - since))

    def _is_stored_to(self, sequence: str | None) -> None:
        self.sequence = sequence or self.sequence
        self._stored = time.monotonic()

    def _lose_sight(self) -> None:
        self._is_at_end = False
        if self._behind_since is None:
            self._behind_since = time.monotonic()


class OutputMetrics(PluginMetrics):
    """What an output has sent, and what went wrong with it."""

    def __init__(self, kind: str, name: str, id: str, *, shown: bool = True) -> None:
        super().__init__(kind, name, id, shown=shown)
        self.requests = 0
        self.bytes = 0
        self.rows = 0
        self.retries = 0
        self.failures: dict[Reason, int] = dict.fromkeys(get_args(Reason), 0)
        self.request_seconds = Histogram(REQUEST_SECONDS)
        self.epoch: int | None = None
        """With which it writes, where it is to be the only writer."""
        self.dead_letters = 0
        self.replaced_values = 0
        self.problem = Problems()

    def sent(self, size: int, *, events: int, duration: int) -> None:
        """Count a request that the destination has accepted."""
        with self.lock:
            self.requests += 1
            self.bytes += size
            self.rows += events
            self.request_seconds.observe(duration / 1e9)
            self.problem.clear()

    def answered(self) -> None:
        """The destination answers, whatever was asked."""
        if self.problem.current is not None:
            with self.lock:
                self.problem.clear()

    def failed(self, problem: str, *, serious: bool, reason: Reason | None = None) -> None:
        """Count a try that will be repeated."""
        with self.lock:
            self.retries += 1
            self.failures[reason or ("misconfigured" if serious else "unavailable")] += 1
            self.problem.set(problem, serious=serious)

    def refused(self, reason: Reason) -> None:
        """Count a request that will not be repeated as it was."""
        with self.lock:
            self.failures[reason] += 1

    def waits(self, problem: str, *, serious: bool) -> None:
        """What it has to deliver waits, and nothing is tried meanwhile."""
        with self.lock:
            self.problem.set(problem, serious=serious)

    def buried(self, letters: int) -> None:
        """Count changes that are dead letters now."""
        with self.lock:
            self.dead_letters += letters

    def replaced(self, documents: int) -> None:
        """Count documents that are stored with replacements for what the destination cannot hold."""
        with self.lock:
            self.replaced_values += documents
