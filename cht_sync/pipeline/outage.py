"""How long something has failed, so that its recovery can be told."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Lasted:
    """How often something was tried in vain, and for how many seconds."""

    attempts: int
    seconds: float


class Outage:
    """Counts failures in a row."""

    def __init__(self) -> None:
        self.attempts = 0
        self._began = 0.0

    def failed(self) -> None:
        """It has failed once more."""
        if not self.attempts:
            self._began = time.monotonic()
        self.attempts += 1

    def over(self) -> Lasted | None:
        """It works; return what is over, None where nothing had failed."""
        if not self.attempts:
            return None
        lasted = Lasted(self.attempts, time.monotonic() - self._began)
        self.attempts = 0
        return lasted
