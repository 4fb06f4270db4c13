"""What other processes run beside the loop: somebody who runs models by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.transform.history import NODES, RUNS
from cht_sync.transform.results import NodeResult, RunOutcome
from cht_sync.transform.retries import RETRIED, Failing
from cht_sync.transform.runner import DbtRunner
from cht_sync.transform.summary import moment, newest_run


class OtherRuns:
    """Notices that a run was recorded since `seen` was called last. Methods raise psycopg2.Error."""

    def __init__(self, schema: str) -> None:
        self._runs = sql.Identifier(schema, RUNS)
        self._nodes = sql.Identifier(schema, NODES)
        self._seen: str | None = None

    def seen(self, connection: Connection) -> None:
        """Take what is recorded now for seen."""
        self._seen = self._newest(connection)

    def any(self, connection: Connection) -> bool:
        """Whether there is a run that was not seen."""
        return self._newest(connection) != self._seen

    def built(self, connection: Connection, failing: Iterable[Failing]) -> tuple[str, ...]:
        """The unique ids of those that somebody has built since they began to fail here."""
        since = {one.node.unique_id: one.since for one in failing}
        if not since:
            return ()
        with connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("""
                    select distinct unique_id from {nodes} as built
                      join unnest(%s::text[], %s::timestamptz[]) as failing (id, since) on id = unique_id
                    where status = 'success' and built.started_at > since
                """).format(nodes=self._nodes),
                (list(since), list(since.values())),
            )
            return tuple(unique_id for (unique_id,) in cursor.fetchall())

    def _newest(self, connection: Connection) -> str | None:
        with connection.cursor() as cursor:
            # Asked first: a query of a missing table would be an error in the server's log.
            cursor.execute("select to_regclass(%s) is not null", (self._runs.as_string(cursor),))
            if cursor.fetchone() != (True,):
                return None
            cursor.execute(
                sql.SQL("select run_id from {} order by started_at desc limit 1").format(self._runs)
            )
            row: tuple[str] | None = cursor.fetchone()
        return row[0] if row else None


def still_failing(
    connection: Connection, schema: str, outcome: RunOutcome, runner: DbtRunner
) -> tuple[tuple[Failing, ...], tuple[str, ...]]:
    """What fails after a run by hand, and the names of what is not tried because it reads that.

    What failed before and was not tried by this run fails still, unless the package lost it; of tests
    nothing is said. Raises psycopg2.Error where the connection is lost.
    """
    if outcome.command == "test":
        return (), ()
    try:
        run = newest_run(connection, schema) or {}
    except psycopg2.Error:
        # A table that is not ours: the recorder, which comes next, tells of it.
        if connection.closed:
            raise
        run = {}
    # Those without an id are of an earlier version, which could tell nothing of runs by hand.
    before = {one["unique_id"]: one for one in run.get("failing") or () if "unique_id" in one}
    told = {node.unique_id for node in outcome.nodes if node.status != "skipped"}
    kept = [one for id, one in before.items() if id not in told and runner.knows(id)]
    failed = [
        _failing(node, before.get(node.unique_id, {}), outcome)
        for node in outcome.failures
        if node.kind in RETRIED
    ]
    failing = (*failed, *(_failing(_node(one), one, outcome) for one in kept))
    built = {node.name for node in outcome.nodes if node.status != "skipped"}
    waiting = tuple(name for name in run.get("skipped") or () if kept and name not in built)
    return failing, waiting


def _failing(node: NodeResult, before: Mapping[str, Any], outcome: RunOutcome) -> Failing:
    since, retry_at = before.get("since"), before.get("retry_at")
    return Failing(
        node, moment(since) if since else outcome.started_at, moment(retry_at) if retry_at else None
    )


def _node(found: Mapping[str, Any]) -> NodeResult:
    return NodeResult(
        found["name"],
        found["unique_id"],
        "model",
        "error",
        message=found["message"],
        compiled_path=found.get("compiled_path", ""),
    )
