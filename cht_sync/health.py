"""Whether a loop does its work: that of dbt, that of a load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

UNABLE_AFTER = 300.0
"""Seconds for which nothing could be run before the loop counts as unwell."""
SILENT_AFTER = 60.0
"""Seconds between two turns of the loop, its work apart, before it counts as dead."""


class Health:
    """What the loop says of itself; asked by another thread. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last_turn = clock()
        self._at_work = False
        self._troubles: dict[str, tuple[str, float]] = {}

    def turn(self) -> None:
        """The loop goes round."""
        with self._lock:
            self._last_turn = self._clock()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """It is at work, which may take as long as it takes."""
        with self._lock:
            self._at_work = True
        try:
            yield
        finally:
            with self._lock:
                self._at_work = False
                self._last_turn = self._clock()

    def trouble(self, kind: str, reason: str) -> None:
        """Nothing can be run because of `reason`; the first of a kind counts as its beginning."""
        with self._lock:
            since = self._troubles.get(kind, ("", self._clock()))[1]
            self._troubles[kind] = (reason, since)

    def well(self, kind: str) -> None:
        """A trouble is over."""
        with self._lock:
            self._troubles.pop(kind, None)

    def reasons(self) -> list[str]:
        """Why the loop is unwell; nothing when it is well."""
        with self._lock:
            now = self._clock()
            found = [
                f"{reason} (for {now - since:.0f} s)"
                for reason, since in self._troubles.values()
                if now - since >= UNABLE_AFTER
            ]
            if not self._at_work and now - self._last_turn >= SILENT_AFTER:
                found.append(f"the loop has stood still for {now - self._last_turn:.0f} s")
        return found
