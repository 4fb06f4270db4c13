"""The tables of what became of runs: `dbt_runs`, a row a run, and `dbt_model_results`, a row a node.

Every node of every run is kept for some hours; of what succeeded before that, one run an hour. So the
second table stays small where the models run every few seconds, and still tells when one became slow.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json, execute_values

from cht_sync.transform.freshness import Freshness
from cht_sync.transform.results import NodeResult, RunOutcome
from cht_sync.transform.results_view import RESULTS, make_results_view
from cht_sync.transform.retries import Failing

RUNS = "dbt_runs"
"""Not dbt_results: cht-pipeline 2.x has a model of that name, in the same schema as these tables. Where a
package has none, a view is there (results_view)."""
NODES = "dbt_model_results"
KEPT_WHOLE = timedelta(hours=6)
PURGE_EVERY = 600.0
"""Seconds."""

RUN_COLUMNS = {
    "run_id": "text primary key",
    "started_at": "timestamptz not null",
    "finished_at": "timestamptz not null",
    "seconds": "double precision not null",
    "result": "text not null check (result in ('success', 'failed'))",
    "models": "integer not null",
    "failed": "jsonb not null",
    "skipped": "jsonb not null",
    "command": "text not null default 'run'",
    "rows": "bigint",
    "full_refreshed": "jsonb",
    "failing": "jsonb",
    "documents": "bigint",
    "freshness_median": "double precision",
    "freshness_greatest": "double precision",
    "pipeline_behind": "double precision",
    "documents_until": "timestamp",
    "package_origin": "text",
    "package_commit": "text",
    "package_note": "text",
    "package_version": "text",
    "partial": "boolean not null default false",
}
"""New columns come last: a table of an earlier version gets them at its end."""
NODE_COLUMNS = {
    "run_id": "text not null",
    "started_at": "timestamptz not null",
    "unique_id": "text not null",
    "name": "text not null",
    "kind": "text not null",
    "status": "text not null",
    "seconds": "double precision not null",
    "rows": "bigint",
    "message": "text not null",
    "compiled_path": "text not null",
}


class History:
    """Writes both tables in `schema`, and makes them at its first record; keeps results for `days`."""

    def __init__(self, schema: str, days: int) -> None:
        self._schema = schema
        self._runs = sql.Identifier(schema, RUNS)
        self._nodes = sql.Identifier(schema, NODES)
        self._days = timedelta(days=days)
        self._prepared = False
        self._purge_at = 0.0

    def record(
        self,
        connection: Connection,
        outcome: RunOutcome,
        *,
        failing: Collection[Failing] = (),
        not_tried: Collection[str] = (),
        freshness: Freshness | None = None,
        until: datetime | None = None,
        package_note: str = "",
    ) -> None:
        """Keep an outcome, in one transaction; from time to time forget what is too old.

        `failing` is all that fails now, and `not_tried` all that reads it, also what this run left alone.
        `until` is the newest stamp that the models have covered. Messages must be without values already.
        Raises psycopg2.Error.
        """
        with connection, connection.cursor() as cursor:
            if not self._prepared:
                self._prepare(cursor)
            values = _run_values(outcome)
            values |= {
                "skipped": Json(list(dict.fromkeys((*outcome.skipped, *not_tried)))),
                "failing": Json([_failing(one) for one in failing]) if failing else None,
                "documents_until": until,
                "package_note": package_note or None,
            }
            if freshness is not None:
                values |= {
                    "documents": freshness.documents,
                    "freshness_median": freshness.median,
                    "freshness_greatest": freshness.greatest,
                    "pipeline_behind": freshness.pipeline,
                }
            _insert(cursor, self._runs, [values])
            _insert(cursor, self._nodes, [_node_values(outcome, node) for node in outcome.nodes])
            if not self._prepared and not any(node.name == RESULTS for node in outcome.nodes):
                make_results_view(cursor, self._schema, self._nodes)
            if time.monotonic() >= self._purge_at:
                self._purge(cursor, datetime.now(UTC))
                self._purge_at = time.monotonic() + PURGE_EVERY
        self._prepared = True

    def _prepare(self, cursor: Cursor) -> None:
        self._adopt(cursor, sql.Identifier(self._schema, RESULTS))
        _bring_up_to_date(cursor, self._runs, RUN_COLUMNS)
        _bring_up_to_date(cursor, self._nodes, NODE_COLUMNS)
        for table, columns in (
            (self._runs, "started_at"),
            (self._nodes, "started_at"),
            (self._nodes, "run_id"),
        ):
            name = f"{table.strings[-1]}_{columns}_idx"
            if not _exists(cursor, sql.Identifier(self._schema, name)):
                cursor.execute(
                    sql.SQL("create index {} on {} ({})").format(
                        sql.Identifier(name), table, sql.Identifier(columns)
                    )
                )

    def _adopt(self, cursor: Cursor, old: sql.Identifier) -> None:
        """Rename what version 0.2 wrote; a model of a package has other columns."""
        cursor.execute(
            "select true from pg_class join pg_attribute on attrelid = pg_class.oid"
            " where pg_class.oid = to_regclass(%s) and relkind = 'r' and attname = 'run_id'",
            (old.as_string(cursor),),
        )
        if cursor.fetchone() is not None and not _exists(cursor, self._runs):
            cursor.execute(sql.SQL("alter table {} rename to {}").format(old, sql.Identifier(RUNS)))

    def _purge(self, cursor: Cursor, now: datetime) -> None:
        for table in (self._runs, self._nodes):
            cursor.execute(sql.SQL("delete from {} where started_at < %s").format(table), (now - self._days,))
        cursor.execute(
            sql.SQL("""
                delete from {nodes} where ctid in (
                  select ctid from (
                    select ctid, row_number() over (
                      partition by unique_id, date_trunc('hour', started_at) order by started_at) as nth
                    from {nodes} where started_at < %s and status in ('success', 'pass')) as old
                  where nth > 1)
            """).format(nodes=self._nodes),
            (now - KEPT_WHOLE,),
        )


def _bring_up_to_date(cursor: Cursor, table: sql.Identifier, columns: Mapping[str, str]) -> None:
    name = table.as_string(cursor)
    cursor.execute(
        "select attname from pg_attribute"
        " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
        (name,),
    )
    there = {column for (column,) in cursor.fetchall()}
    missing = [
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind))
        for column, kind in columns.items()
        if column not in there
    ]
    if not there:
        cursor.execute(
            sql.SQL("create table if not exists {} ({})").format(table, sql.SQL(", ").join(missing))
        )
    elif missing:
        added = sql.SQL(", ").join(sql.SQL("add column ") + one for one in missing)
        cursor.execute(sql.SQL("alter table {} ").format(table) + added)


def _exists(cursor: Cursor, relation: sql.Identifier) -> bool:
    # Asked first: "if not exists" would say so in the server's log at each start.
    cursor.execute("select to_regclass(%s) is not null", (relation.as_string(cursor),))
    return cursor.fetchone() == (True,)


def _insert(cursor: Cursor, table: sql.Identifier, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    names = sql.SQL(", ").join(sql.Identifier(name) for name in rows[0])
    query = sql.SQL("insert into {} ({}) values %s").format(table, names)
    execute_values(cursor, query, [tuple(row.values()) for row in rows], page_size=1000)


def _run_values(outcome: RunOutcome) -> dict[str, Any]:
    return {
        "run_id": outcome.run_id,
        "started_at": outcome.started_at,
        "finished_at": outcome.started_at + timedelta(seconds=outcome.seconds),
        "seconds": outcome.seconds,
        "result": outcome.result,
        "models": outcome.models,
        "failed": Json([_failed(node) for node in outcome.failures]),
        "command": outcome.command,
        "rows": outcome.rows,
        "full_refreshed": Json(list(outcome.full_refreshed)) if outcome.full_refreshed else None,
        "package_origin": outcome.package_origin or None,
        "package_commit": outcome.package_commit,
        "package_version": outcome.package_version or None,
        "partial": outcome.partial,
    }


def _node_values(outcome: RunOutcome, node: NodeResult) -> dict[str, Any]:
    return {
        "run_id": outcome.run_id,
        "started_at": outcome.started_at,
        "unique_id": node.unique_id,
        "name": node.name,
        "kind": node.kind,
        "status": node.status,
        "seconds": node.seconds,
        "rows": node.rows,
        "message": node.message if node.status not in ("success", "pass") else "",
        "compiled_path": node.compiled_path,
    }


def _failed(node: NodeResult) -> dict[str, Any]:
    return {"name": node.name, "message": node.message, "compiled_path": node.compiled_path}


def _failing(one: Failing) -> dict[str, Any]:
    return {
        **_failed(one.node),
        "unique_id": one.node.unique_id,
        "since": one.since.isoformat(timespec="seconds"),
        "retry_at": one.retry_at.isoformat(timespec="seconds") if one.retry_at else None,
    }
