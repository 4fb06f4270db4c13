"""Ctrl-C while PostgreSQL is at work: the driver waits where Python cannot hear a signal."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2.extensions import POLL_OK, POLL_READ, set_wait_callback
from psycopg2.extensions import connection as Connection


@contextmanager
def interruptible_queries() -> Iterator[None]:
    """Within the block a signal ends a query: it is cancelled, and KeyboardInterrupt goes on."""
    set_wait_callback(_wait)
    try:
        yield
    finally:
        set_wait_callback(None)


def _wait(connection: Connection) -> None:
    try:
        while (state := connection.poll()) != POLL_OK:
            waiting = [connection.fileno()]
            select.select(waiting if state == POLL_READ else [], waiting if state != POLL_READ else [], [])
    except KeyboardInterrupt:
        connection.cancel()
        raise
