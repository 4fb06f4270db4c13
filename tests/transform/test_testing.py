"""The package's tests run by themselves, and models do not wait for them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from postgres_fixture import PostgresServer
from psycopg2 import sql

from cht_sync.transform.loop import run_once, run_tests_once
from cht_sync.transform.results import NodeResult, RunOutcome
from cht_sync.transform.runner import DbtRunner
from cht_sync.transform.testing import AGAIN_AFTER, MOST_CUT_OFF, PORTION, PassOfTests

from .looping import eventually, looping, on_another_connection, query, shown, small
from .warehouse import Warehouse

AT = datetime(2026, 1, 1, tzinfo=UTC)
ONLY_ONCE = 1e6


@pytest.fixture
def world(fresh: Warehouse, tmp_path: Path) -> Warehouse:
    made = small(fresh, tmp_path)
    made.put("ada", {"type": "person", "name": "Ada"})
    made.put("nobody", {"type": "person"})
    made.put("eve", {"type": "person", "name": "Eve"})
    return made


@pytest.fixture
def elsewhere(world: Warehouse, postgres_server: PostgresServer) -> Iterator[Warehouse]:
    """The same warehouse on a connection of its own, for the loop's thread."""
    with on_another_connection(world, postgres_server) as found:
        yield found


@contextmanager
def locked_out(world: Warehouse, user: str) -> Iterator[None]:
    """Nobody can log in meanwhile, and who was there is thrown out, but for the loop itself."""
    role = sql.Identifier(user)
    with world.connection as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("alter role {} nologin").format(role))
        cursor.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = %s and application_name <> 'cht-sync dbt loop'",
            (user,),
        )
    try:
        yield
    finally:
        with world.connection as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("alter role {} login").format(role))


def portion_of(*statuses: str, kind: str = "test") -> RunOutcome:
    nodes = tuple(NodeResult(f"t{at}", "", kind, status) for at, status in enumerate(statuses))
    return RunOutcome("id", "test", AT, 1.0, nodes)


def test_the_loop_runs_the_tests_and_tells_of_each(world: Warehouse) -> None:
    with looping(replace(world.options, test_interval=ONLY_ONCE)):
        found = eventually(lambda: query(world, "select 1 from dbt.dbt_runs where command = 'test'"))
        assert len(found) == 1
    tests = shown(world).tests
    assert tests is not None
    assert tests.passed == 2
    (failed,) = tests.failed
    assert failed.name.startswith("accepted_values_people")
    assert "Got 1 result" in failed.message
    assert "Eve" not in failed.message
    assert Path(failed.compiled_path).is_file()
    (warned,) = tests.warned
    assert warned.name == "not_null_people_name"
    assert shown(world).result == "success"
    kinds = query(world, "select kind, count(*) from dbt.dbt_model_results group by kind order by kind")
    assert dict(kinds)["test"] == 4

    # The next process knows when they ran.
    with looping(replace(world.options, test_interval=ONLY_ONCE)):
        world.put("later", {"type": "person"})
        eventually(lambda: world.rows("people", "later"))
    passes = "select count(*) from dbt.dbt_runs where command = 'test' and not partial"
    assert query(world, passes) == [(1,)]

    # A part of them by hand is no pass, and a package that changed meanwhile has had none.
    part = run_tests_once(replace(world.options, selectors=("not_null_people_name",)), partial=True)
    assert len(part.nodes) == 1
    assert shown(world).tests == tests
    people = world.options.project / "models" / "people.sql"
    people.write_text(people.read_text() + "\n-- changed\n")
    with looping(replace(world.options, test_interval=ONLY_ONCE)):
        eventually(lambda: query(world, passes) == [(2,)])


def test_models_that_are_due_run_between_two_portions(
    world: Warehouse, elsewhere: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cht_sync.transform.testing.PORTION", 1)
    order: list[str] = []
    run, test = DbtRunner.run, DbtRunner.test

    def running(self: DbtRunner, **given: Any) -> RunOutcome:
        order.append("run")
        return run(self, **given)

    def testing(self: DbtRunner, *, select: Collection[str], **given: Any) -> RunOutcome:
        assert len(select) == 1
        order.append("test")
        outcome = test(self, select=select, **given)
        # There is always something new.
        number = len(order)
        elsewhere.put(f"d{number}", {"type": "person", "name": "Ada"})
        return outcome

    monkeypatch.setattr(DbtRunner, "run", running)
    monkeypatch.setattr(DbtRunner, "test", testing)
    with looping(replace(world.options, test_interval=ONLY_ONCE)):
        eventually(lambda: query(world, "select 1 from dbt.dbt_runs where command = 'test'"))
    assert order.count("test") == 4
    assert order[:8] == ["run", "test"] * 4


def test_tests_run_once_by_hand(world: Warehouse) -> None:
    assert run_once(world.options).succeeded
    outcome = run_tests_once(world.options)
    assert (outcome.command, outcome.succeeded, outcome.built) == ("test", False, 3)
    tests = shown(world).tests
    assert tests is not None
    assert len(tests.failed) == 1


def test_a_pass_is_over_when_all_portions_have_run() -> None:
    tests = PassOfTests(60)
    assert tests.due(0)
    tests.begin([f"t{number}" for number in range(PORTION + 1)], now=0)
    assert len(tests.portion()) == PORTION
    assert tests.ran(portion_of("pass", "fail")) is None
    assert tests.portion() == (f"t{PORTION}",)
    assert not tests.due(1000)
    whole = tests.ran(portion_of("warn"))
    assert whole is not None
    assert [node.status for node in whole.nodes] == ["pass", "fail", "warn"]
    assert whole.seconds == 2.0
    assert not tests.running
    assert not tests.due(59)
    assert tests.due(60)


def test_without_an_interval_there_is_no_pass() -> None:
    assert not PassOfTests(0).due(1e9)


def test_a_pass_ends_where_dbt_fails() -> None:
    tests = PassOfTests(60)
    tests.begin([f"t{number}" for number in range(100)], now=0)
    assert tests.ran(portion_of("error", kind="dbt")) is not None
    assert not tests.running


def test_a_pass_that_is_cut_off_begins_again_soon_and_not_for_ever() -> None:
    tests = PassOfTests(3600)
    now = 0.0
    for _ in range(MOST_CUT_OFF):
        assert tests.due(now)
        tests.begin(["t"], now)
        assert tests.cut_off(now)
        assert not tests.running
        assert not tests.due(now + AGAIN_AFTER - 1)
        now += AGAIN_AFTER
    tests.begin(["t"], now)
    assert not tests.cut_off(now)
    assert tests.ran(portion_of("error", kind="dbt")) is not None
    tests.begin(["t"], now)
    assert tests.cut_off(now)


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_postgres_that_goes_away_under_the_tests_is_no_failed_test(
    world: Warehouse,
    elsewhere: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    when: str,
) -> None:
    monkeypatch.setattr("cht_sync.transform.testing.AGAIN_AFTER", 0.0)
    user = world.options.user
    test = DbtRunner.test
    passes: list[RunOutcome] = []

    def testing(self: DbtRunner, **given: Any) -> RunOutcome:
        if passes:
            return test(self, **given)
        if when == "before":
            with locked_out(elsewhere, user):
                outcome = test(self, **given)
            assert [node.kind for node in outcome.failures] == ["dbt"]
        else:
            # As when a test runs in the moment: its own result tells of the lost connection.
            outcome = portion_of("pass", "error")
            query(
                elsewhere, "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", user
            )
        passes.append(outcome)
        return outcome

    monkeypatch.setattr(DbtRunner, "test", testing)
    with looping(replace(world.options, test_interval=ONLY_ONCE)):
        eventually(lambda: query(world, "select 1 from dbt.dbt_runs where command = 'test'"))
    assert len(passes) == 1
    (failed,) = query(world, "select failed from dbt.dbt_runs where command = 'test'")
    assert [one["name"] for one in failed[0]] == ["accepted_values_people_name__Ada__Amina"]
    assert "the tests were cut off" in caplog.text


def test_a_new_package_begins_a_new_pass() -> None:
    tests = PassOfTests(60)
    tests.begin(["old"], now=0)
    tests.restart(now=1)
    assert not tests.running
    assert tests.due(1)
