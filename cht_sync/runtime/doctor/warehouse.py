"""A connection to the warehouse that cannot change anything and does not wait for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import connection as Connection

from cht_sync.errors import ChtSyncError
from cht_sync.warehouse.connection import Endpoint

MOST_MILLISECONDS = 10_000
"""For a statement: an upgrade may hold a table."""


@contextmanager
def asked(endpoint: Endpoint) -> Iterator[Connection]:
    """Give a connection; raises ChtSyncError also for what PostgreSQL says to a question."""
    try:
        with endpoint.connect() as connection:
            connection.set_session(readonly=True)
            with connection.cursor() as cursor:
                cursor.execute("select set_config('statement_timeout', %s, false)", (str(MOST_MILLISECONDS),))
            yield connection
    except psycopg2.errors.QueryCanceled as error:
        raise ChtSyncError(
            f"PostgreSQL gives no answer in {MOST_MILLISECONDS // 1000} s: something holds a lock, or it is "
            "overloaded",
            hint="See who waits: select pid, state, wait_event_type, query from pg_stat_activity",
        ) from error
    except psycopg2.Error as error:
        raise ChtSyncError(
            f"PostgreSQL says: {str(error).strip().splitlines()[0]}",
            hint="Bring the schema up to date: cht-sync init-db",
        ) from error
