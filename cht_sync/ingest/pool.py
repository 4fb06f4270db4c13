"""Connections to PostgreSQL: made when needed, kept for the next request, at most so many."""

from __future__ import annotations

import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from psycopg2.extensions import TRANSACTION_STATUS_IDLE, make_dsn, parse_dsn
from psycopg2.extensions import connection as Connection

from cht_sync import postgresql
from cht_sync.ingest.errors import ApiError

UNLESS_GIVEN = {
    "fallback_application_name": "cht-sync ingest",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
"""libpq's parameters where the URI does not name them; times in seconds."""


def connect(uri: str) -> Connection:
    """Open a connection that sends no BEGIN of its own; raises psycopg2.OperationalError."""
    given = parse_dsn(uri)
    extra = {name: value for name, value in UNLESS_GIVEN.items() if name not in given}
    connection = postgresql.connect(make_dsn(uri, client_encoding="UTF8", **extra))
    connection.autocommit = True
    return connection


def is_full() -> ApiError:
    """All connections are busy, and have been for too long."""
    return ApiError(504, "PGRST003", "Timed out acquiring connection from connection pool.")


class Pool:
    """At most `size` connections; who comes when all are busy waits up to `patience` seconds."""

    def __init__(self, connect: Callable[[], Connection], *, size: int, patience: float) -> None:
        self._connect = connect
        self._patience = patience
        self._free = threading.BoundedSemaphore(size)
        self._idle: deque[Connection] = deque()
        self._lock = threading.Lock()
        self.size = size
        self.available = size
        """Connections that nobody has; they may be still to be made."""
        self.waiting = 0
        self.timeouts = 0
        """How many have waited in vain."""

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection, proven alive as far as can be told without sending anything.

        Raises ApiError 504 PGRST003 when none became free in time, psycopg2.Error when none can
        be made.
        """
        self._acquire()
        try:
            connection = self._take() or self._connect()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            with self._lock:
                self.available += 1
            self._free.release()

    def _acquire(self) -> None:
        if not self._free.acquire(blocking=False):
            with self._lock:
                self.waiting += 1
            got = self._free.acquire(timeout=self._patience)
            with self._lock:
                self.waiting -= 1
                self.timeouts += not got
            if not got:
                raise is_full()
        with self._lock:
            self.available -= 1

    def close(self) -> None:
        """Close what is idle; lent connections are closed by the end of the process."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Connection | None:
        """Return the connection used last that is still alive, and close those that are not."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if not _has_something_to_say(connection):
                return connection
            connection.close()
        return None

    def _give_back(self, connection: Connection) -> None:
        if not connection.closed and connection.info.transaction_status == TRANSACTION_STATUS_IDLE:
            self._idle.append(connection)
        else:
            connection.close()


def _has_something_to_say(connection: Connection) -> bool:
    """Whether bytes wait on an idle connection: its end, or news that a fresh one need not hear."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
