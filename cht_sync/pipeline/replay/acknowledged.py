"""Acknowledgements in the order in which batches were read, in whatever order they come."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(eq=False)
class _Entry:
    act: Callable[[], None]
    done: bool = False


class InOrder:
    """What is to be done for a batch is done only when it and all earlier ones are acknowledged."""

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque()
        self._lock = threading.Lock()

    def track(self, act: Callable[[], None]) -> Callable[[], None]:
        """Remember a batch that was read now; return its acknowledgement."""
        entry = _Entry(act)
        with self._lock:
            self._entries.append(entry)
        return lambda: self._acknowledge(entry)

    def _acknowledge(self, entry: _Entry) -> None:
        with self._lock:
            entry.done = True
            while self._entries and self._entries[0].done:
                self._entries.popleft().act()
