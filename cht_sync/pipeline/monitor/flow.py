"""Flow metrics: how fast counters grow, over several windows.

Logstash's windows: `current` (at least ten seconds, or as much as there is), `last_1_minute` to
`last_24_hours` once so much time has passed, and `lifetime`. Each has at most a few dozen captures.
"""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rates = dict[str, float | str]
"""Rate by the name of the window; for infinity, which JSON lacks, the text `Infinity`, as Logstash has it."""


@dataclass(frozen=True)
class Window:
    """`length` and the least distance of two captures in seconds."""

    name: str
    length: float
    distance: float


WINDOWS = (
    Window("current", 10, 1),
    Window("last_1_minute", 60, 3),
    Window("last_5_minutes", 300, 15),
    Window("last_15_minutes", 900, 30),
    Window("last_1_hour", 3600, 60),
    Window("last_24_hours", 86_400, 900),
)

Capture = tuple[float, "array[float]"]


class History:
    """Captures of a fixed set of counters, as long as the longest window needs them."""

    def __init__(self, names: Sequence[str], at: float, values: Mapping[str, float]) -> None:
        """Begin at the moment `at` (seconds) with the first values of the counters."""
        self._index = {name: n for n, name in enumerate(names)}
        self._first: Capture = (at, self._vector(values))
        self._windows = {window: deque([self._first]) for window in WINDOWS}
        self._last = self._first
        self._lock = threading.Lock()

    def capture(self, at: float, values: Mapping[str, float]) -> None:
        """Remember the values of now."""
        with self._lock:
            self._last = (at, self._vector(values))
            for window, kept in self._windows.items():
                if at - kept[-1][0] >= window.distance:
                    kept.append(self._last)
                # The newest one that is older than the window is the base of its rate.
                while len(kept) > 1 and at - kept[1][0] >= window.length:
                    kept.popleft()

    def rates(self, numerator: str, denominator: str | None = None, factor: float = 1.0) -> Rates:
        """Return the growth of one counter by that of another, or by seconds; 0 by 0 is left out."""
        with self._lock:
            bases = [(window.name, kept[0], window) for window, kept in self._windows.items()]
            last = self._last
        rates: Rates = {}
        for name, base, window in bases:
            if name == "current" or last[0] - base[0] >= window.length:
                self._add(rates, name, base, last, numerator, denominator, factor)
        self._add(rates, "lifetime", self._first, last, numerator, denominator, factor)
        return rates

    def _add(
        self,
        rates: Rates,
        name: str,
        base: Capture,
        last: Capture,
        numerator: str,
        denominator: str | None,
        factor: float,
    ) -> None:
        at = self._index[numerator]
        growth = (last[1][at] - base[1][at]) * factor
        if denominator is None:
            by = last[0] - base[0]
        else:
            by = last[1][self._index[denominator]] - base[1][self._index[denominator]]
        if by:
            rates[name] = float(f"{growth / by:.4g}")
        elif growth:
            rates[name] = "Infinity"

    def _vector(self, values: Mapping[str, Any]) -> array[float]:
        return array("d", [float(values[name]) for name in self._index])
