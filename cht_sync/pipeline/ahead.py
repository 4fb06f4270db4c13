"""The next batch is made while the one before it is on its way: one ahead, never more.

The destination's time is the most precious one: while it works, everything is done that needs only us, so
that it gets the next request as soon as it has answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Ahead(Generic[Made]):
    """Calls `make` (its argument are seconds of patience) when something is taken, or before, in a thread."""

    def __init__(self, make: Callable[[float], Made], interrupt: Callable[[], None]) -> None:
        """`interrupt` makes a `make` that waits in another thread return."""
        self._make = make
        self._interrupt = interrupt
        self._making: _Making[Made] | None = None

    def begin(self, patience: float) -> None:
        """Make what is taken next already now."""
        if self._making is None:
            self._making = _Making(self._make, patience)

    def take(self, patience: float) -> Made:
        """Return what was made ahead, else make it now. Raises what `make` raises."""
        if self._making is None:
            return self._make(patience)
        making, self._making = self._making, None
        return making.result()

    def close(self) -> None:
        """Let go of what was made ahead and not taken."""
        if self._making is not None:
            self._interrupt()
            self._making.join()
            self._making = None


class _Making(threading.Thread, Generic[Made]):
    """A call in a thread of its own."""

    def __init__(self, make: Callable[[float], Made], patience: float) -> None:
        # Like the thread that takes, a daemon, so that a second signal can abandon both.
        super().__init__(name=f"{threading.current_thread().name} (ahead)", daemon=True)
        self._make = make
        self._patience = patience
        self._made: list[Made] = []
        self._failure: Exception | None = None
        self.start()

    def run(self) -> None:
        """Make it."""
        try:
            self._made.append(self._make(self._patience))
        except Exception as error:
            # Whoever takes it raises it.
            self._failure = error

    def result(self) -> Made:
        """Wait for it."""
        self.join()
        if self._failure is not None:
            raise self._failure
        return self._made[0]
