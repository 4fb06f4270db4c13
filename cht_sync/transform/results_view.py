"""The view `dbt_results`: what became of each node the last time, in the columns of cht-pipeline 2.

There it is a model, into which a hook writes; exporters and dashboards read it. A package that brings that
model keeps it: the view is made only where nothing has the name, and dbt puts a model in the place of a view.
"""

from __future__ import annotations

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

RESULTS = "dbt_results"


def make_results_view(cursor: Cursor, schema: str, nodes: sql.Identifier) -> None:
    """Make it in `schema` over the table of results by node. Raises psycopg2.Error.

    A row for each node, not for each run of it: an exporter makes a series of each row, and two of one name
    are none. As there, `execution_time` are seconds, and the moments are UTC; they are counted from the start
    of the run.
    """
    name = sql.Identifier(schema, RESULTS)
    cursor.execute("select to_regclass(%s) is null", (name.as_string(cursor),))
    if cursor.fetchone() == (True,):
        cursor.execute(sql.SQL(_RESULTS).format(results=name, nodes=nodes, schema=sql.Literal(schema)))


_RESULTS = """
create view {results} as
select distinct on (unique_id)
  run_id || '.' || unique_id as result_id,
  run_id as invocation_id,
  unique_id,
  current_database()::text as database_name,
  {schema} as schema_name,
  name,
  kind as resource_type,
  status,
  started_at at time zone 'UTC' as start_time,
  started_at at time zone 'UTC' + make_interval(secs => seconds) as end_time,
  seconds as execution_time,
  coalesce(rows, 0) as rows_affected
from {nodes}
where kind not in ('dbt', 'operation')
order by unique_id, started_at desc
"""
