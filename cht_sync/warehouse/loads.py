"""Parallel loads that have not ended, as `status` and the pipelines' start see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection


@dataclass(frozen=True)
class UnfinishedLoad:
    """A load: `documents` of about `expected` are there; `seconds_idle` since the last chunk was done."""

    documents: int
    expected: int
    seconds_idle: float


def unfinished_loads(
    connection: Connection, schema: str, sources: Mapping[str, str]
) -> dict[str, UnfinishedLoad]:
    """Return the loads that have not ended, by database; `sources` says under which source each is read.

    A layout that knows none has none. Raises psycopg2.Error.
    """
    query = sql.SQL("""
        select load.source, chunks.documents, load.expected,
          extract(epoch from clock_timestamp() - greatest(load.started_at, chunks.last))::float8
        from {loads} as load, lateral (
          select coalesce(sum(documents), 0)::bigint as documents, max(done_at) as last
          from {chunks} where source = load.source) as chunks
        where load.ended_at is null and load.source = any(%s)
    """).format(
        loads=sql.Identifier(schema, "cht_sync_loads"), chunks=sql.Identifier(schema, "cht_sync_load_chunks")
    )
    with connection.cursor() as cursor:
        try:
            cursor.execute(query, (list(sources.values()),))
        except psycopg2.errors.UndefinedTable:
            return {}
        found = {source: UnfinishedLoad(*rest) for source, *rest in cursor.fetchall()}
    return {database: found[source] for database, source in sources.items() if source in found}
