"""What became of a run, and the table `dbt_results` that keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json

TABLE = "dbt_results"
KEPT = timedelta(days=14)


FAILED = frozenset({"error", "fail"})


@dataclass(frozen=True)
class NodeResult:
    """What became of one node of the project, or of dbt itself where it failed before any node.

    `name` is the node's name without its package; `kind` dbt's resource type ("model", "test",
    "snapshot", "seed", "operation"; "dbt" where dbt failed before any node). `status` is "success",
    "error" or "skipped" (not tried, because one that it reads failed), of tests "pass", "fail",
    "warn", "error" or "skipped". `seconds` is its duration, `rows` what PostgreSQL said it changed, of
    tests the rows that fail; None where unknown. `message` is what PostgreSQL or dbt said,
    `compiled_path` the file with the SQL that ran, empty where there is none.
    """

    name: str
    unique_id: str
    kind: str
    status: str
    seconds: float = 0.0
    rows: int | None = None
    message: str = ""
    compiled_path: str = ""


@dataclass(frozen=True)
class RunOutcome:
    """One run of dbt: `command` is "run" or "test", `seconds` its whole duration.

    `full_refreshed` are the names of the models that were built anew because they changed.
    `package_origin` and `package_commit` say which package ran, as in `Package`.
    """

    run_id: str
    command: str
    started_at: datetime
    seconds: float
    nodes: tuple[NodeResult, ...] = ()
    full_refreshed: tuple[str, ...] = ()
    package_origin: str = ""
    package_commit: str | None = None

    @property
    def succeeded(self) -> bool:
        return not self.failures

    @property
    def result(self) -> str:
        """As it stands in the table and in `status --json`."""
        return "success" if self.succeeded else "failed"

    @property
    def failures(self) -> tuple[NodeResult, ...]:
        """The nodes that failed."""
        return tuple(node for node in self.nodes if node.status in FAILED)

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of the nodes that were not tried because one that they read failed."""
        return tuple(node.name for node in self.nodes if node.status == "skipped")

    @property
    def models(self) -> int:
        """How many models were built."""
        return sum(node.kind == "model" and node.status == "success" for node in self.nodes)


@dataclass(frozen=True)
class LastRun:
    """The newest row, as `cht-sync status` shows it: start (UTC), "success" or "failed", failed models."""

    last_run: datetime
    result: str
    seconds: float
    failed: list[str]


def record(connection: Connection, schema: str, outcome: RunOutcome) -> None:
    """Keep the outcome, and forget those that are older than `KEPT`.

    Makes the table where there is none. Raises psycopg2.Error.
    """
    table = sql.Identifier(schema, TABLE)
    with connection, connection.cursor() as cursor:
        if not _exists(cursor, table):
            cursor.execute(
                sql.SQL("""create table if not exists {} (
                    run_id text primary key,
                    started_at timestamptz not null,
                    finished_at timestamptz not null,
                    seconds double precision not null,
                    result text not null check (result in ('success', 'failed')),
                    models integer not null,
                    failed jsonb not null,
                    skipped jsonb not null
                )""").format(table)
            )
        cursor.execute(
            sql.SQL("insert into {} values (%s, %s, %s, %s, %s, %s, %s, %s)").format(table),
            (
                outcome.run_id,
                outcome.started_at,
                outcome.started_at + timedelta(seconds=outcome.seconds),
                outcome.seconds,
                outcome.result,
                outcome.models,
                Json([{"name": failure.name, "message": failure.message} for failure in outcome.failures]),
                Json(list(outcome.skipped)),
            ),
        )
        cursor.execute(
            sql.SQL("delete from {} where started_at < %s").format(table), (outcome.started_at - KEPT,)
        )


def last_run(connection: Connection, schema: str) -> LastRun | None:
    """Return the newest recorded run; None before the first. Raises psycopg2.Error."""
    table = sql.Identifier(schema, TABLE)
    with connection, connection.cursor() as cursor:
        if not _exists(cursor, table):
            return None
        cursor.execute(
            sql.SQL("""
                select started_at, result, seconds, jsonb_path_query_array(failed, '$[*].name')
                from {} order by started_at desc limit 1
            """).format(table)
        )
        row = cursor.fetchone()
    if row is None:
        return None
    started_at, result, seconds, failed = row
    return LastRun(started_at.astimezone(UTC), result, seconds, failed)


def _exists(cursor: Cursor, table: sql.Identifier) -> bool:
    # Asked first: "create if not exists" would need the right to create, and say so in the server's log.
    cursor.execute("select to_regclass(%s) is not null", (table.as_string(cursor),))
    return cursor.fetchone() == (True,)
