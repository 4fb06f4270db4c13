"""Waiting for what another process or thread does, where it gives no event."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest


def eventually(condition: Callable[[], bool]) -> None:
    """Ask until `condition` holds; fails after a minute."""
    waiting = threading.Event()
    for _ in range(6_000):
        if condition():
            return
        waiting.wait(0.01)
    pytest.fail("waited for a minute in vain")
