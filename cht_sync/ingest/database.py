"""Requests on their way into PostgreSQL: as whom, with what in force, and what a failure means."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2

from cht_sync.ingest import session
from cht_sync.ingest.auth import Identity
from cht_sync.ingest.config import IngestConfig
from cht_sync.ingest.errors import ApiError, connection_failed, connection_lost, from_database
from cht_sync.ingest.memory import give_back
from cht_sync.ingest.messages import Request
from cht_sync.ingest.pool import Pool, is_full
from cht_sync.ingest.schema_cache import Snapshot
from cht_sync.ingest.sqltext import Statement

LARGE = 8 * 1024 * 1024
"""Bytes of a body from which memory is given back at once instead of kept for the next one."""
READING = ("GET", "HEAD")


@dataclass(frozen=True)
class Asked:
    """A request, who sent it, the schema that it is about, and what is known of that."""

    request: Request
    identity: Identity
    snapshot: Snapshot
    schema: str
    profile: tuple[tuple[str, str], ...] = ()
    """Headers that name the schema, where it was negotiated."""


class Database:
    """Runs one statement for each request."""

    def __init__(self, config: IngestConfig, pool: Pool) -> None:
        self._config = config
        self._pool = pool
        # Large bodies one after another: side by side they would need several times the memory, and
        # would only wait for each other in PostgreSQL.
        self._large = threading.Lock()

    def run(
        self,
        asked: Asked,
        statement: Statement,
        check: session.Check | None = None,
        *,
        timezone: str | None = None,
    ) -> session.Row:
        """Run and commit `statement` as the role of the request; return its one row.

        `check` is `session.run`'s. Raises ApiError.
        """
        request, identity = asked.request, asked.identity
        context = session.Context(
            identity=identity,
            method=request.method,
            path=request.path,
            headers=request.headers,
            search_path=(asked.schema, *self._config.extra_search_path),
            role_settings=asked.snapshot.role_settings.get(identity.role, {}),
            read_only=request.method in READING,
            timezone=timezone,
        )
        if "\0" in identity.role:
            raise ApiError(401, "22023", "role names cannot contain NUL")
        large = statement.body is not None and statement.body.length > LARGE
        with self._in_turn(large=large):
            try:
                with self._pool.connection() as connection:
                    if request.abandoned():
                        # Waiting for a connection may have taken longer than the client's patience.
                        raise ApiError(499, "PGRSTX00", "The client closed the connection")
                    try:
                        return session.run(connection, context, statement, check)
                    except psycopg2.Error as error:
                        if connection.closed:
                            raise connection_lost() from error
                        raise from_database(error, authenticated=identity.authenticated) from error
                    finally:
                        if large:
                            # libpq never shrinks its buffers.
                            connection.close()
            except psycopg2.OperationalError as error:
                raise connection_failed(error) from error

    @contextmanager
    def _in_turn(self, *, large: bool) -> Iterator[None]:
        if not large:
            yield
            return
        if not self._large.acquire(timeout=self._config.pool_patience):
            raise is_full()
        try:
            yield
        finally:
            self._large.release()
            give_back()
