"""How far each database has come, as the warehouse knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

RATE_WINDOW = 60
"""Seconds over which documents per second are counted."""


@dataclass(frozen=True)
class DatabaseProgress:
    """One database: rows and tombstones in its table, and what its progress row says.

    `dead_letters` are the open ones, `replaced_values` the documents that were stored with U+FFFD in
    places; `problem` says why nothing is read, None when all is well.
    """

    rows: int
    tombstones: int
    sequence: str | None
    pending: int | None
    seconds_since_caught_up: float | None
    documents_per_second: float
    dead_letters: int
    replaced_values: int = 0
    problem: str | None = None


def read_progress(
    connection: Connection, schema: str, sources: Mapping[str, str]
) -> dict[str, DatabaseProgress]:
    """Return the progress by database; `sources` says under which source each is read.

    A database without a table yet is left out. Raises psycopg2.Error.
    """
    found: dict[str, DatabaseProgress] = {}
    for database, source in sources.items():
        query = sql.SQL("""
            select
              counts.rows, counts.tombstones, progress.seq, progress.pending,
              extract(epoch from clock_timestamp() - progress.caught_up_at)::float8,
              (select count(*) from {table}
                where saved_timestamp
                  > (clock_timestamp() at time zone 'UTC') - make_interval(secs => %(window)s)
              )::float8 / %(window)s,
              (select count(*) from {letters} where database = %(database)s and closed_at is null),
              (select count(distinct doc_id) from {replaced} where database = %(database)s),
              progress.problem
            from (select count(*) filter (where not _deleted) as rows,
                         count(*) filter (where _deleted) as tombstones from {table}) as counts
            left join {progress} as progress on progress.source = %(source)s
        """).format(
            table=sql.Identifier(schema, database),
            letters=sql.Identifier(schema, "dead_letters"),
            replaced=sql.Identifier(schema, "replaced_values"),
            progress=sql.Identifier(schema, "couchdb_progress"),
        )
        with connection.cursor() as cursor:
            try:
                cursor.execute(query, {"window": RATE_WINDOW, "database": database, "source": source})
            except psycopg2.errors.UndefinedTable:
                continue
            row = cursor.fetchone()
        if row is not None:
            found[database] = DatabaseProgress(*row)
    return found
