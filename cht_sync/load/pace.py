"""How fast a load goes, and how long it will still take."""

from __future__ import annotations

from collections import deque

from cht_sync.load.ledger import Progress

WINDOW = 60.0
"""Seconds that count: the last ones say more than all of them."""


class Pace:
    """What was seen of a load; `begun` is how far it was at `now`, in seconds of a monotonic clock."""

    def __init__(self, begun: Progress, now: float) -> None:
        self._looks = deque([(now, begun.documents)])

    def words(self, progress: Progress, now: float) -> str:
        """Rate and time left, as far as they are known."""
        self._looks.append((now, progress.documents))
        while len(self._looks) > 2 and now - self._looks[0][0] > WINDOW:
            self._looks.popleft()
        if progress.all_chunks_done:
            return "looking for deletions"
        rate = self.rate()
        if rate <= 0:
            return "beginning" if progress.documents == 0 else "waiting"
        left = max(0, progress.expected - progress.documents) / rate
        return f"{rate:,.0f}/s, {_left(left)}"

    def rate(self) -> float:
        """Documents a second over the last minute, of all machines together."""
        (began, before), (now, documents) = self._looks[0], self._looks[-1]
        return (documents - before) / (now - began) if now > began else 0.0


def _left(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s left"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min left"
    return f"{seconds / 3600:.1f} h left"
