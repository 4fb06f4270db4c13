"""When the models are to be run again."""

from __future__ import annotations

from collections.abc import Iterator

from cht_sync.backoff import delays
from cht_sync.transform.changes import Newest

MOST_BETWEEN_RETRIES = 240.0
"""Seconds; with the jitter of a quarter, what failed is tried again within five minutes."""


class Pace:
    """A run is due when data changed, at most every `interval` seconds; after dbt failed, later and later.

    Times are those of one monotonic clock, in seconds. What was there before the last run is
    remembered, not what was there after it: a change during a run is never taken for seen. The first
    run is due at once, since nothing is known of the models' state.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next_start = 0.0
        self._again = True
        self._retries = new_retries(interval)
        self._seen: Newest = None

    def due(self, newest: Newest, now: float) -> bool:
        """Whether to run now, where `newest` is the newest change that can be seen."""
        return now >= self._next_start and (self._again or newest != self._seen)

    def ran(
        self, newest: Newest, *, started: float, ended: float, succeeded: bool, again: bool = False
    ) -> None:
        """Take note of a run that began when `newest` was the newest change.

        `succeeded` is False where dbt itself failed: then data does not wake it before its next try.
        `again` says that there was more to do than fitted into the run.
        """
        self._seen = newest
        self._next_start = started + self._interval
        self._again = again or not succeeded
        if succeeded:
            self._retries = new_retries(self._interval)
        else:
            self._next_start = max(self._next_start, ended + next(self._retries))

    def reset(self) -> None:
        """What is run has changed: a run is due at once."""
        self._again = True
        self._next_start = 0.0
        self._retries = new_retries(self._interval)


def new_retries(interval: float) -> Iterator[float]:
    """Yield the seconds between the tries of what fails: from `interval` up, five minutes at most."""
    return delays(first=min(interval, MOST_BETWEEN_RETRIES), most=MOST_BETWEEN_RETRIES)
