"""Waiting for what another process or thread does, where it gives no event."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

PATIENCE = 120.0
"""Seconds; far more than anything takes, also on a machine that has other things to do."""


def eventually(condition: Callable[[], bool]) -> None:
    """Ask until `condition` holds; fails after two minutes."""
    waiting = threading.Event()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return
        waiting.wait(0.01)
    pytest.fail(f"waited for {PATIENCE:.0f} s in vain")
