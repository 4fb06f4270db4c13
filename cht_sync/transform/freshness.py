"""How long documents waited until they were in the models: measured, never estimated.

A document's stamp is the moment at which its transaction stored it, and the same server's clock is read
after the run has committed. Documents that came while the run went on are counted with the next one, so
the truth may be better than what is shown, never worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg2 import sql
from psycopg2.extensions import connection as Connection


@dataclass(frozen=True)
class Freshness:
    """Seconds from storing to the end of the run, over the `documents` that the run took, up to `until`.

    `pipeline` is how many seconds the pipelines were behind CouchDB then (the greatest of all; 0 where
    nothing waits); None where that is not known of every pipeline, as in a first load.
    """

    documents: int
    median: float
    greatest: float
    until: datetime
    pipeline: float | None


def measure(connection: Connection, raw_schema: str, *, after: datetime, until: datetime) -> Freshness | None:
    """Measure a run that has just ended; None where no document is left of those with these stamps.

    `after` is the newest stamp that an earlier run has covered, `until` the newest that this one has.
    Reads index entries of the documents in between. Raises psycopg2.Error.
    """
    query = sql.SQL("""
        select count(*),
          extract(epoch from now_utc - percentile_disc(0.5) within group (order by saved_timestamp))::float8,
          extract(epoch from now_utc - min(saved_timestamp))::float8,
          (select case when bool_and(pending is not null and (pending = 0 or caught_up_at is not null))
             then max(case when pending > 0 then extract(epoch from clock_timestamp() - caught_up_at)
               else 0 end)::float8 end from {progress})
        from {documents} cross join (select clock_timestamp() at time zone 'UTC' as now_utc) as clock
        where saved_timestamp > %s and saved_timestamp <= %s
        group by now_utc
    """).format(
        documents=sql.Identifier(raw_schema, "all_documents"),
        progress=sql.Identifier(raw_schema, "couchdb_progress"),
    )
    with connection.cursor() as cursor:
        cursor.execute(query, (after, until))
        row = cursor.fetchone()
    if row is None:
        return None
    documents, median, greatest, pipeline = row
    return Freshness(documents, median, greatest, until, pipeline)
