"""What became of runs is kept: as long as it is worth it, beside what an earlier version kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from cht_sync.transform.changes import connected
from cht_sync.transform.history import KEPT_WHOLE, History
from cht_sync.transform.metrics import Metrics
from cht_sync.transform.recorder import Recorder
from cht_sync.transform.results import NodeResult, RunOutcome
from cht_sync.transform.retries import Failing
from cht_sync.transform.summary import last_tests, summary

from .warehouse import Warehouse

NOW = datetime.now(UTC)
DAYS = 14
MODEL = NodeResult("person", "model.p.person", "model", "success", 0.5, 7, "INSERT 0 7", "/srv/person.sql")
FAILED = replace(MODEL, status="error", rows=None, message="invalid input syntax for type date")


def outcome(at: datetime, *nodes: NodeResult, command: str = "run") -> RunOutcome:
    return RunOutcome(at.isoformat(), command, at, 2.0, nodes, (), "own", None, "v1")


@pytest.fixture
def connection(fresh: Warehouse) -> Iterator[Connection]:
    with connected(fresh.options) as found:
        yield found


def all_nodes(connection: Connection) -> list[tuple[datetime, str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("select started_at, name, status from dbt.dbt_model_results order by 1, 2")
        return cursor.fetchall()


def test_a_run_is_a_row_and_each_of_its_nodes_is_one(connection: Connection) -> None:
    history = History("dbt", DAYS)
    history.record(
        connection, outcome(NOW, MODEL, replace(FAILED, name="births", unique_id="model.p.births"))
    )
    with connection.cursor() as cursor:
        cursor.execute("select result, models, rows, failed, skipped from dbt.dbt_runs")
        assert cursor.fetchall() == [
            (
                "failed", 1, 7,
                [{"name": "births", "message": FAILED.message, "compiled_path": "/srv/person.sql"}], [],
            )
        ]  # fmt: skip
        cursor.execute("select name, kind, status, seconds, rows, message, compiled_path"
                       " from dbt.dbt_model_results order by name")  # fmt: skip
        assert cursor.fetchall() == [
            ("births", "model", "error", 0.5, None, FAILED.message, "/srv/person.sql"),
            ("person", "model", "success", 0.5, 7, "", "/srv/person.sql"),
        ]


def test_what_succeeded_long_ago_is_kept_once_an_hour_and_what_failed_always(connection: Connection) -> None:
    history = History("dbt", DAYS)
    hour = (NOW - KEPT_WHOLE - timedelta(hours=2)).replace(minute=0, second=0, microsecond=0)
    old = [hour + timedelta(minutes=minutes) for minutes in (0, 10, 20, 70)]
    for at in old:
        history.record(connection, outcome(at, MODEL))
    history.record(connection, outcome(old[1] + timedelta(minutes=1), FAILED))
    forgotten = NOW - timedelta(days=DAYS, minutes=1)
    history.record(connection, outcome(forgotten, FAILED))

    # A process purges at its first record, and then from time to time.
    History("dbt", DAYS).record(connection, outcome(NOW, MODEL))

    assert all_nodes(connection) == [
        (old[0], "person", "success"),
        (old[1] + timedelta(minutes=1), "person", "error"),
        (old[3], "person", "success"),
        (NOW, "person", "success"),
    ]
    with connection.cursor() as cursor:
        cursor.execute("select min(started_at), count(*) from dbt.dbt_runs")
        assert cursor.fetchone() == (old[0], 6)


def test_the_table_of_an_earlier_version_is_taken_over_and_brought_up_to_date(
    fresh: Warehouse, connection: Connection
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("""
            create table dbt.dbt_results (
                run_id text primary key, started_at timestamptz not null, finished_at timestamptz not null,
                seconds double precision not null,
                result text not null check (result in ('success', 'failed')),
                models integer not null, failed jsonb not null, skipped jsonb not null);
            insert into dbt.dbt_results values ('old', now() - interval '1 hour', now(), 1.5, 'failed', 3,
                '[{"name": "person", "message": "no"}]', '["reader"]');
        """)
    assert summary(connection, "dbt") is None
    for at in (NOW, NOW + timedelta(seconds=1)):
        History("dbt", DAYS).record(connection, outcome(at, MODEL))

    after = summary(connection, "dbt")
    assert after is not None
    assert (after.result, after.failed) == ("success", [])
    with connection.cursor() as cursor:
        cursor.execute("select run_id, command from dbt.dbt_runs order by started_at limit 1")
        assert cursor.fetchone() == ("old", "run")


def test_a_model_that_was_left_alone_still_fails_in_the_summary(connection: Connection) -> None:
    history = History("dbt", DAYS)
    failing = Failing(FAILED, NOW - timedelta(minutes=5), NOW + timedelta(minutes=1))
    history.record(connection, outcome(NOW, replace(MODEL, name="place")), failing=[failing])
    found = summary(connection, "dbt")
    assert found is not None
    assert (found.result, found.failed) == ("failed", ["person"])
    (problem,) = found.problems
    assert datetime.fromisoformat(problem.since or "") == failing.since.replace(microsecond=0)
    assert problem.compiled_path == "/srv/person.sql"


def test_tests_are_summed_up_beside_the_newest_run(connection: Connection) -> None:
    history = History("dbt", DAYS)
    test = NodeResult("not_null", "test.p.not_null", "test", "pass")
    history.record(connection, outcome(NOW, MODEL))
    history.record(
        connection,
        outcome(
            NOW + timedelta(seconds=1),
            test,
            replace(test, unique_id="2"),
            replace(test, name="unique", unique_id="3", status="fail", message="Got 2 results", rows=2),
            replace(test, name="odd", unique_id="4", status="warn", message="Got 1 result"),
            command="test",
        ),
    )
    found = summary(connection, "dbt")
    assert found is not None
    assert (found.last_run, found.result) == (NOW, "success")
    assert found.tests is not None
    assert (found.tests.passed, found.tests.at) == (2, NOW + timedelta(seconds=1))
    assert [(one.name, one.message) for one in found.tests.failed] == [("unique", "Got 2 results")]
    assert [one.name for one in found.tests.warned] == ["odd"]
    assert last_tests(connection, "dbt", "v1") == NOW + timedelta(seconds=1)
    assert last_tests(connection, "dbt", "v2") is None


def test_the_superset_role_and_the_owner_can_read_the_results(
    fresh: Warehouse, connection: Connection
) -> None:
    History("dbt", DAYS).record(connection, outcome(NOW, MODEL))
    with closing(fresh.connection.cursor()) as cursor:
        for table in ("dbt_runs", "dbt_model_results"):
            cursor.execute(
                "select has_table_privilege(%s, %s, 'select')",
                (f"{fresh.options.database}_superset", f"dbt.{table}"),
            )
            assert cursor.fetchone() == (True,)
    fresh.connection.rollback()


def test_results_that_cannot_be_kept_cost_one_line_in_the_log(
    fresh: Warehouse, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("create view dbt.dbt_runs as select 1 as run_id")
    Recorder(History("dbt", DAYS), Metrics()).record(connection, outcome(NOW, MODEL))
    assert "the results of a run cannot be kept" in caplog.text
    with connection.cursor() as cursor:
        cursor.execute("select 1")


def test_a_lost_connection_is_told_and_the_outcome_recorded_on_the_next_one(fresh: Warehouse) -> None:
    recorder = Recorder(History("dbt", DAYS), Metrics())
    with connected(fresh.options) as lost:
        lost.close()
        with pytest.raises(psycopg2.Error):
            recorder.record(lost, outcome(NOW, MODEL))
    with connected(fresh.options) as back:
        recorder.catch_up(back)
        assert all_nodes(back) == [(NOW, "person", "success")]
