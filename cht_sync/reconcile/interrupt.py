"""Ctrl-C while PostgreSQL is at work: by itself the driver waits where Python hears no signal."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2.extensions import POLL_OK, POLL_READ, set_wait_callback
from psycopg2.extensions import connection as Connection


@contextmanager
def interruptible_queries() -> Iterator[None]:
    """Within the block Ctrl-C cancels the query that is under way, and raises KeyboardInterrupt."""
    interrupted = False

    def wait(connection: Connection) -> None:
        nonlocal interrupted
        state = None
        while state != POLL_OK:
            try:
                state = connection.poll()
                if state != POLL_OK:
                    waiting = [connection.fileno()]
                    select.select(*((waiting, []) if state == POLL_READ else ([], waiting)), [])
            except KeyboardInterrupt:
                # The query then ends with an error, after which the connection is in order.
                interrupted = True
                connection.cancel()
        if interrupted:
            # The query was done before it could be cancelled.
            raise KeyboardInterrupt

    set_wait_callback(wait)
    try:
        yield
    except Exception:
        if interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        set_wait_callback(None)
