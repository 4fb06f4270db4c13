"""Ports of loopback for servers that tests start later, or never."""

from __future__ import annotations

import contextlib
import os
import random
import socket

from cht_sync.runtime.ports import FOR_SERVERS

WORKERS = 4
"""So many processes of pytest-xdist have ports that no other one gives."""
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_OWN = FOR_SERVERS[_WORKER % WORKERS :: WORKERS]
_left: list[int] = []


def free_port() -> int:
    """A port on which nobody listens, that no connection is given, and that nobody else was given lately."""
    while True:
        if not _left:
            _left.extend(random.sample(_OWN, len(_OWN)))
        port = _left.pop()
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
