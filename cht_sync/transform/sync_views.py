"""What the dashboards know of the synchronisation: three views beside the models.

They read the schema of the documents with the rights of dbt's role, so that people who see the models
see how fresh these are without a right on the documents. Letters and documents are shown without what
is in them.
"""

from __future__ import annotations

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.transform.history import RUNS

DATABASES = "sync_databases"
LETTERS = "sync_dead_letters"
DOCUMENTS = "sync_documents"
SILENT_AFTER = "3 minutes"
"""A living pipeline gives a sign of life each minute at least; after this long nothing is known."""


def make_views(connection: Connection, schema: str, raw_schema: str) -> None:
    """Make or renew the views in `schema`; the table of runs must be there. Raises psycopg2.Error.

    `sync_databases` has a row for each database: `seconds_behind` is 0 where nothing waits, else the
    seconds since nothing waited; `as_of` is the moment whose CouchDB is wholly in the models, null before
    the first run. `sync_documents` has a row for each document and tombstone, whatever the package makes
    of them.
    """
    names = {
        "databases": sql.Identifier(schema, DATABASES),
        "letters": sql.Identifier(schema, LETTERS),
        "stored": sql.Identifier(schema, DOCUMENTS),
        "runs": sql.Identifier(schema, RUNS),
        "progress": sql.Identifier(raw_schema, "couchdb_progress"),
        "documents": sql.Identifier(raw_schema, "all_documents"),
        "raw_letters": sql.Identifier(raw_schema, "dead_letters"),
        "silent_after": sql.Literal(SILENT_AFTER),
    }
    with connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL(_DATABASES).format(**names))
        cursor.execute(sql.SQL(_LETTERS).format(**names))
        cursor.execute(sql.SQL(_STORED).format(**names))


_DATABASES = """
create or replace view {databases} as
select
  progress.database,
  progress.source,
  coalesce(progress.pending, 0) as pending,
  case
    when progress.pending = 0 and progress.updated_at > now() - interval {silent_after} then 0
    else extract(epoch from now() - progress.caught_up_at)::double precision
  end as seconds_behind,
  progress.caught_up_at,
  progress.updated_at as alive_at,
  progress.problem,
  (
    select count(*) from {raw_letters} as letter
    where letter.database = progress.database and letter.closed_at is null
  ) as open_dead_letters,
  case
    when run.started_at is null then null
    when run.documents_until >= (select max(saved_timestamp) from {documents}) then progress.caught_up_at
    else least(run.started_at, progress.caught_up_at)
  end as as_of
from {progress} as progress
left join (
  select started_at, documents_until from {runs}
  where command = 'run' and documents_until is not null
  order by started_at desc limit 1
) as run on true
"""
_LETTERS = """
create or replace view {letters} as
select id, database, doc_id, rev, code, reason, at, closed_at, closed_by
from {raw_letters}
"""
_STORED = """
create or replace view {stored} as
select substring(source from '/(.*)$') as database, saved_timestamp, _deleted
from {documents}
"""
