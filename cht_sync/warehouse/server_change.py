"""The operator's word on a CouchDB that is another one than before.

A pipeline that finds another server does not read. What is accepted here it takes up within seconds: the
batch number of its position is put back, so its next request is refused and it begins again from the
position that is then there. Also good for reading a database again of which nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg2
from psycopg2 import sql

from cht_sync.errors import ChtSyncError
from cht_sync.warehouse.connection import Endpoint

FROM_THE_START = "0"


def accept_server(
    endpoint: Endpoint, schema: str, *, databases: Sequence[str] = (), from_start: bool = True
) -> list[str]:
    """Let the positions belong to whatever CouchDB is there now; return the sources that were changed.

    Without `databases`, those with a problem. With `from_start` everything is read again, and rows that
    CouchDB does not have become tombstones; else reading goes on from where it is, which is right only
    for a server with the same data and history. Raises ChtSyncError, also where a database has no
    position yet; then nothing is changed.
    """
    try:
        return _accept(endpoint, schema, databases, from_start)
    except psycopg2.Error as error:
        raise ChtSyncError(
            f"the positions in {endpoint.database} cannot be changed: {str(error).strip().splitlines()[0]}",
            hint="cht-sync init-db brings the database up to date; POSTGRES_USER must be its owner.",
        ) from error


def _accept(endpoint: Endpoint, schema: str, databases: Sequence[str], from_start: bool) -> list[str]:
    progress = sql.Identifier(schema, "couchdb_progress")
    with endpoint.connect() as connection, connection.cursor() as cursor:
        connection.autocommit = False
        # All writers stand in this line, so none is between reading the position and moving it.
        cursor.execute(sql.SQL("select from {} for update").format(sql.Identifier(schema, "cht_sync_state")))
        cursor.execute(sql.SQL("select database from {}").format(progress))
        known = {database for (database,) in cursor.fetchall()}
        unknown = [database for database in databases if database not in known]
        if unknown:
            raise ChtSyncError(
                f"{', '.join(unknown)}: no position is stored, so there is nothing to accept",
                hint="Name databases as COUCHDB_DBS does; a database that was never read needs nothing.",
            )
        cursor.execute(
            sql.SQL("""
                update {} set server_uuid = null, instance_start_time = null, problem = null, batch = 0,
                  seq = case when %(from_start)s then %(start)s else seq end,
                  pending = case when %(from_start)s then null else pending end,
                  rereading = rereading or %(from_start)s
                where case when %(named)s then database = any(%(databases)s) else problem is not null end
                returning source
            """).format(progress),
            {
                "from_start": from_start,
                "start": FROM_THE_START,
                "named": bool(databases),
                "databases": list(databases),
            },
        )
        sources = sorted(source for (source,) in cursor.fetchall())
        connection.commit()
    return sources
