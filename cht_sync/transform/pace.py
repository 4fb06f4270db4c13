"""When the models are to be run again."""

from __future__ import annotations

from collections.abc import Iterator

from cht_sync.backoff import delays
from cht_sync.transform.changes import Newest

MOST_BETWEEN_RETRIES = 300.0
"""Seconds after which a failing model is tried again, at the latest, where nothing changes."""


class Pace:
    """A run is due when data changed, at most every `interval` seconds, and again after a failure.

    Times are those of one monotonic clock, in seconds. What was there before the last run is
    remembered, not what was there after it: a change during a run is never taken for seen. The first
    run is due at once, since nothing is known of the models' state.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next_start = 0.0
        self._retry_at: float | None = 0.0
        self._retries = self._new_retries()
        self._seen: Newest = None

    def due(self, newest: Newest, now: float) -> bool:
        """Whether to run now, where `newest` is the newest change that can be seen."""
        if now < self._next_start:
            return False
        return newest != self._seen or (self._retry_at is not None and now >= self._retry_at)

    def ran(self, newest: Newest, *, started: float, ended: float, succeeded: bool) -> None:
        """Take note of a run that began when `newest` was the newest change."""
        self._seen = newest
        self._next_start = started + self._interval
        if succeeded:
            self._retry_at = None
            self._retries = self._new_retries()
        else:
            self._retry_at = ended + next(self._retries)

    def _new_retries(self) -> Iterator[float]:
        return delays(first=self._interval, most=MOST_BETWEEN_RETRIES)
