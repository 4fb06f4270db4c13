"""Clients' connections: as many as the process may have open, and never full of silent ones."""

from __future__ import annotations

import resource
import time
from typing import Any

MOST = 1_000
RESERVED_FILES = 100
"""File descriptors for all else: PostgreSQL, bodies that wait in files, the log."""
SILENCE = 5.0
"""Seconds without a byte after which a connection may have to make room for another one."""
ROOM = 0.1
"""The part of all connections that is kept free where that can be had."""


def most() -> int:
    """How many connections there may be: fewer than file descriptors, or accepting would fail."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST
    return max(RESERVED_FILES, min(MOST, soft - RESERVED_FILES))


def make_room(server: Any, limit: int) -> None:
    """Close the connections that have been silent for longest, where most places are taken.

    Those that are kept open between requests are among them; their clients open new ones. A
    connection with a request under way is never closed. To be called from the loop's own thread.
    """
    channels = list(server.active_channels.values())
    too_many = len(channels) - int(limit * (1 - ROOM))
    if too_many <= 0:
        return
    silent_since = time.time() - SILENCE
    silent = [one for one in channels if not one.requests and one.last_activity < silent_since]
    for channel in sorted(silent, key=lambda one: float(one.last_activity))[:too_many]:
        channel.will_close = True
