"""The package's tests, at their own interval and in portions: models never wait for all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from cht_sync.transform.results import RunOutcome

PORTION = 10
"""Tests that are run between two looks whether models are due."""

AGAIN_AFTER = 30.0
"""Seconds after which a pass begins again that was cut off."""
MOST_CUT_OFF = 3
"""Times in a row: what fails more often has a reason of its own, as a test under which PostgreSQL falls."""


class PassOfTests:
    """One pass over all tests every `interval` seconds (0: never).

    Times are those of one monotonic clock, in seconds. A pass that is not finished when the package
    changes, or the process ends, begins again.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0
        self._left: deque[str] = deque()
        self._done: list[RunOutcome] = []
        self._times_cut_off = 0

    @property
    def running(self) -> bool:
        """Whether a pass has begun and is not finished."""
        return bool(self._left)

    def due(self, now: float) -> bool:
        """Whether a pass is to begin."""
        return bool(self._interval) and not self._left and now >= self._next

    def begin(self, names: Iterable[str], now: float) -> None:
        """Begin a pass over the tests of these names."""
        self._left = deque(names)
        self._done = []
        self._next = now + self._interval

    def wait(self, seconds: float, now: float) -> None:
        """Let the next pass begin so many seconds from now."""
        self._next = now + seconds

    def restart(self, now: float) -> None:
        """Forget a pass that has begun; the next one is due now."""
        self._left.clear()
        self._next = now
        self._times_cut_off = 0

    def cut_off(self, now: float) -> bool:
        """Forget a pass that could not go on, for it tells nothing of the tests; the next one is due soon.

        False, and nothing is changed, where that has been tried MOST_CUT_OFF times in a row.
        """
        if self._times_cut_off == MOST_CUT_OFF:
            return False
        self._times_cut_off += 1
        self._left.clear()
        self.wait(AGAIN_AFTER, now)
        return True

    def portion(self) -> tuple[str, ...]:
        """The names of the tests to run next."""
        return tuple(list(self._left)[:PORTION])

    def ran(self, outcome: RunOutcome) -> RunOutcome | None:
        """Take note of a portion's outcome; return that of the whole pass where it was the last one.

        Where dbt itself failed the pass ends: the other tests would fail like that too.
        """
        self._done.append(outcome)
        for _ in range(min(PORTION, len(self._left))):
            self._left.popleft()
        if any(node.kind == "dbt" for node in outcome.failures):
            self._left.clear()
        if self._left:
            return None
        self._times_cut_off = 0
        return whole(self._done)


def whole(portions: list[RunOutcome]) -> RunOutcome:
    """The outcomes of several portions as one."""
    return replace(
        portions[0],
        seconds=sum(one.seconds for one in portions),
        nodes=tuple(node for one in portions for node in one.nodes),
    )
