"""What the tables of results say now, for those who look: `cht-sync status`, and whoever waits for a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from cht_sync.transform.history import NODES, RUNS


@dataclass(frozen=True)
class Problem:
    """A model or test that fails: what was said, the file with its SQL, when it is tried again (ISO 8601).

    `since` and `retry_at` are None where nobody tries again by itself.
    """

    name: str
    message: str
    compiled_path: str
    since: str | None = None
    retry_at: str | None = None


@dataclass(frozen=True)
class Reached:
    """Seconds until a document was in the models: the median of the newest run that took any, at `at`.

    `greatest_of_hour` is the longest that any document waited in the runs of the last hour, None where
    there was none. `pipeline` as in Freshness.
    """

    at: datetime
    documents: int
    median: float
    greatest: float
    greatest_of_hour: float | None
    pipeline: float | None


@dataclass(frozen=True)
class LastTests:
    """The newest whole pass of the package's tests, started at `at` (UTC)."""

    at: datetime
    passed: int
    warned: tuple[Problem, ...]
    failed: tuple[Problem, ...]


@dataclass(frozen=True)
class Package:
    """Which package the newest run was of; `note` is what an operator must know of it."""

    origin: str | None
    commit: str | None
    note: str | None


@dataclass(frozen=True)
class Summary:
    """The newest run (its start in UTC), and what is known beside it.

    `result` is "failed" while any model fails, also where the newest run left it alone.
    """

    last_run: datetime
    result: str
    seconds: float
    problems: tuple[Problem, ...]
    skipped: tuple[str, ...]
    package: Package
    reached: Reached | None
    tests: LastTests | None

    @property
    def failed(self) -> list[str]:
        return [problem.name for problem in self.problems]


def summary(connection: Connection, schema: str) -> Summary | None:
    """Return the state of the models; None before the first run. Raises psycopg2.Error."""
    runs = sql.Identifier(schema, RUNS)
    with connection, connection.cursor() as cursor:
        if not _exists(cursor, runs):
            return None
        run = _newest(cursor, runs, "run")
        if run is None:
            return None
        failing = run.get("failing") or []
        names = {one["name"] for one in failing}
        # What belongs to no model, as a failure of dbt itself, is in the second only.
        others = [one for one in run["failed"] if one["name"] not in names]
        problems = tuple(_problem(one) for one in (*failing, *others))
        return Summary(
            last_run=moment(run["started_at"]),
            result="failed" if problems else "success",
            seconds=run["seconds"],
            problems=problems,
            skipped=tuple(run["skipped"]),
            package=Package(run.get("package_origin"), run.get("package_commit"), run.get("package_note")),
            # A table of an earlier version lacks the columns until the first run of this one.
            reached=_reached(cursor, runs) if "freshness_median" in run else None,
            tests=_tests(cursor, schema, runs) if "command" in run else None,
        )


def newest_run(connection: Connection, schema: str) -> dict[str, Any] | None:
    """The newest row of a run of models, None where there is none. Raises psycopg2.Error."""
    runs = sql.Identifier(schema, RUNS)
    with connection, connection.cursor() as cursor:
        return _newest(cursor, runs, "run") if _exists(cursor, runs) else None


def covered_until(connection: Connection, schema: str) -> datetime | None:
    """The newest stamp that a recorded run has covered; None where none says so. Raises psycopg2.Error."""
    query = "select documents_until from {} where documents_until is not null"
    found: datetime | None = _scalar(connection, schema, query)
    return found


def last_tests(connection: Connection, schema: str, package_version: str) -> datetime | None:
    """When this package's tests were all run last (UTC); None where never. Raises psycopg2.Error."""
    query = """
        select started_at from {} where command = 'test' and not partial and package_version = %s
    """
    found: datetime | None = _scalar(connection, schema, query, package_version, column="package_version")
    return found


def _scalar(
    connection: Connection, schema: str, query: str, *values: str, column: str = "documents_until"
) -> Any:
    runs = sql.Identifier(schema, RUNS)
    with connection, connection.cursor() as cursor:
        # A table of an earlier version lacks the columns until the first run of this one.
        if not _has_column(cursor, runs, column):
            return None
        cursor.execute(sql.SQL(query + " order by started_at desc limit 1").format(runs), values)
        row = cursor.fetchone()
    return row[0] if row else None


def _newest(cursor: Cursor, runs: sql.Identifier, command: str) -> dict[str, Any] | None:
    # As JSON, since a table of an earlier version has fewer columns.
    cursor.execute(
        sql.SQL("""
            select to_jsonb(run) from {} as run where coalesce(to_jsonb(run) ->> 'command', 'run') = %s
              and coalesce(to_jsonb(run) ->> 'partial', 'false') = 'false'
            order by started_at desc limit 1
        """).format(runs),
        (command,),
    )
    row = cursor.fetchone()
    return row[0] if row else None


def _reached(cursor: Cursor, runs: sql.Identifier) -> Reached | None:
    cursor.execute(
        sql.SQL("""
            select finished_at, documents, freshness_median, freshness_greatest,
              (select max(freshness_greatest) from {runs}
                where started_at > clock_timestamp() - interval '1 hour'),
              pipeline_behind
            from {runs} where documents is not null order by started_at desc limit 1
        """).format(runs=runs)
    )
    row = cursor.fetchone()
    return Reached(row[0].astimezone(UTC), *row[1:]) if row else None


def _tests(cursor: Cursor, schema: str, runs: sql.Identifier) -> LastTests | None:
    run = _newest(cursor, runs, "test")
    if run is None:
        return None
    cursor.execute(
        sql.SQL("select status, name, message, compiled_path from {} where run_id = %s order by name").format(
            sql.Identifier(schema, NODES)
        ),
        (run["run_id"],),
    )
    rows = cursor.fetchall()
    return LastTests(
        at=moment(run["started_at"]),
        passed=sum(status == "pass" for status, *_rest in rows),
        warned=tuple(Problem(*rest) for status, *rest in rows if status == "warn"),
        failed=tuple(Problem(*rest) for status, *rest in rows if status in ("fail", "error")),
    )


def _problem(found: Mapping[str, Any]) -> Problem:
    return Problem(
        found["name"],
        found["message"],
        found.get("compiled_path", ""),
        found.get("since"),
        found.get("retry_at"),
    )


def moment(text: str) -> datetime:
    """Read a moment as it is in the tables' JSON; in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _exists(cursor: Cursor, table: sql.Identifier) -> bool:
    # Asked first: a query of a missing table would be an error in the server's log.
    cursor.execute("select to_regclass(%s) is not null", (table.as_string(cursor),))
    return cursor.fetchone() == (True,)


def _has_column(cursor: Cursor, table: sql.Identifier, column: str) -> bool:
    cursor.execute(
        "select exists (select from pg_attribute where attrelid = to_regclass(%s) and attname = %s)",
        (table.as_string(cursor), column),
    )
    return cursor.fetchone() == (True,)
