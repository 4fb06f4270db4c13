"""The connection of the loop: whether data changed, and who may run the models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.postgresql import connect
from cht_sync.transform.options import TransformOptions

Newest = datetime | None
"""The stamp of the newest document; None where there is none."""


@contextmanager
def connected(options: TransformOptions) -> Iterator[Connection]:
    """Give a connection in autocommit; it notices within a minute that the server is gone.

    Raises psycopg2.OperationalError.
    """
    with closing(
        connect(
            host=options.host,
            port=options.port,
            user=options.user,
            password=options.password,
            dbname=options.database,
            sslmode=options.sslmode,
            sslrootcert=options.sslrootcert or None,
            application_name="cht-sync dbt loop",
            connect_timeout=10,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
            tcp_user_timeout=60_000,
        )
    ) as connection:
        connection.autocommit = True
        yield connection


def newest_change(connection: Connection, raw_schema: str) -> Newest:
    """Return the greatest stamp of all documents: one look into an index for each database.

    Not the stamp of the last transaction: that also moves when a writer only says that it is alive,
    or repeats what is there. Raises psycopg2.Error.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("select max(saved_timestamp) from {}").format(sql.Identifier(raw_schema, "all_documents"))
        )
        row: tuple[Newest] | None = cursor.fetchone()
    return row[0] if row else None


@contextmanager
def sole_runner(connection: Connection, schema: str) -> Iterator[bool]:
    """Hold the right to run the models of `schema`; give False where somebody else has it.

    Two runs at once would insert the same rows twice. The server takes the right back when the
    connection ends. Raises psycopg2.Error.
    """
    key = (f"cht-sync dbt {schema}",)
    with connection.cursor() as cursor:
        cursor.execute("select pg_try_advisory_lock(hashtextextended(%s, 0))", key)
        held = cursor.fetchone() == (True,)
        try:
            yield held
        finally:
            if held and not connection.closed:
                cursor.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", key)
