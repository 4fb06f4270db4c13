"""Counting like things for the log, so that many of them are a few lines."""

from __future__ import annotations

import time
from collections import Counter

SAY_AGAIN = 60.0
"""Seconds between two log lines about the same."""


class Tally:
    """Counts like things for the log: the first is said at once, others together a minute later."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._said_at: float | None = None

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, what: str, count: int = 1) -> None:
        self._counts[what] += count

    def due(self) -> tuple[str, int] | None:
        """Return what has come and how much of it, if that is to be said now."""
        if self._said_at is not None and time.monotonic() - self._said_at < SAY_AGAIN:
            return None
        return self.rest()

    def rest(self) -> tuple[str, int] | None:
        """Return what was not said yet, None where there is nothing."""
        if not self._counts:
            return None
        said = ", ".join(sorted(self._counts)), self._counts.total()
        self._counts.clear()
        self._said_at = time.monotonic()
        return said
