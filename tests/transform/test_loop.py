"""When the loop runs, and what keeps it going."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from postgres_fixture import PostgresServer
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from cht_sync.transform.changes import Newest, connected, newest_change, sole_runner
from cht_sync.transform.results import RunOutcome
from cht_sync.transform.runner import DbtRunner

from .looping import PATIENCE, eventually, looping, on_another_connection, query, runs, shown, small
from .warehouse import Warehouse


@pytest.fixture
def world(fresh: Warehouse, tmp_path: Path) -> Warehouse:
    return small(fresh, tmp_path)


@pytest.fixture
def elsewhere(world: Warehouse, postgres_server: PostgresServer) -> Iterator[Warehouse]:
    """The same warehouse on a connection of its own, for the loop's thread."""
    with on_another_connection(world, postgres_server) as found:
        yield found


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Released at each look for changes."""
    seen = threading.Semaphore(0)

    def look(connection: Connection, raw_schema: str) -> Newest:
        seen.release()
        return newest_change(connection, raw_schema)

    monkeypatch.setattr("cht_sync.transform.follower.newest_change", look)
    return seen


def await_looks(looks: threading.Semaphore, count: int) -> None:
    while looks.acquire(blocking=False):
        pass
    for _ in range(count):
        assert looks.acquire(timeout=PATIENCE)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement of the loop's own connection."""
    said: list[str] = []
    connect = psycopg2.connect

    class Counting(Cursor):
        def execute(self, query: Any, vars: Any = None) -> None:
            said.append(str(query.as_string(self) if isinstance(query, sql.Composable) else query))
            super().execute(query, vars)

    monkeypatch.setattr(
        "cht_sync.transform.changes.connect",
        lambda **given: connect(cursor_factory=Counting, **given),
    )
    return said


def test_a_change_wakes_the_loop_and_a_replay_does_not(
    world: Warehouse, looks: threading.Semaphore, statements: list[str]
) -> None:
    world.put("amina", {"type": "person", "name": "Amina"})
    with looping(world.options):
        eventually(lambda: world.rows("people", "amina"))
        eventually(lambda: runs(world) == ["success"])

        await_looks(looks, 1)
        statements.clear()
        query(world, "update v1.medic set doc = doc returning 1")
        await_looks(looks, 20)
        # One look into an index a turn, and nothing else.
        assert 19 <= len(statements) <= 22
        assert set(statements) == {'select max(saved_timestamp) from "v1"."all_documents"'}
        assert runs(world) == ["success"]

        world.put("amina", {"type": "person", "name": "Amina N."})
        eventually(lambda: world.row("people", "amina")["name"] == "Amina N.")


def test_a_change_during_a_run_is_never_taken_for_seen(
    world: Warehouse, elsewhere: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DbtRunner.run
    put = threading.Event()

    def run(self: DbtRunner, **given: Any) -> RunOutcome:
        outcome = original(self, **given)
        if not put.is_set():
            put.set()
            elsewhere.put("late", {"type": "person", "name": "Ada"})
        return outcome

    monkeypatch.setattr(DbtRunner, "run", run)
    world.put("early", {"type": "person", "name": "Ada"})
    with looping(world.options):
        eventually(lambda: world.rows("people", "late"))


def test_the_loop_outlives_a_postgres_that_is_away_and_says_so_once(
    world: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cht_sync.transform")
    options = world.options
    with looping(options):
        eventually(lambda: runs(world) == ["success"])
        world.connection.autocommit = True
        with world.connection.cursor() as cursor:
            cursor.execute(sql.SQL("alter role {} nologin").format(sql.Identifier(options.user)))
            cursor.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", (options.user,)
            )
            eventually(lambda: "not permitted to log in" in caplog.text)
            cursor.execute(sql.SQL("alter role {} login").format(sql.Identifier(options.user)))
        world.connection.autocommit = False
        world.put("later", {"type": "person"})
        eventually(lambda: world.rows("people", "later"))
    assert caplog.text.count("not permitted to log in") == 1
    assert "PostgreSQL is back" in caplog.text


def test_what_postgres_refuses_is_told_once_and_asked_again(
    world: Warehouse, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cht_sync.transform.loop._new_waits", lambda: itertools.repeat(0.01))
    tries = threading.Semaphore(0)

    def look(connection: Connection, raw_schema: str) -> Newest:
        tries.release()
        return newest_change(connection, raw_schema)

    monkeypatch.setattr("cht_sync.transform.follower.newest_change", look)
    with looping(replace(world.options, raw_schema="nowhere")):
        await_looks(tries, 3)
    assert caplog.text.count('PostgreSQL refuses: relation "nowhere.all_documents" does not exist') == 1


def test_results_that_postgres_could_not_take_are_kept_until_it_is_back(
    world: Warehouse, elsewhere: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DbtRunner.run
    cut = threading.Event()

    def run(self: DbtRunner, **given: Any) -> RunOutcome:
        outcome = original(self, **given)
        if not cut.is_set():
            cut.set()
            user = world.options.user
            query(
                elsewhere, "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", user
            )
        return outcome

    monkeypatch.setattr(DbtRunner, "run", run)
    with looping(world.options):
        eventually(lambda: runs(world) == ["success"])


def test_where_a_batch_was_full_the_loop_goes_on_without_a_change(world: Warehouse) -> None:
    for number in range(5):
        world.put(f"d{number}", {"type": "person"})
    with looping(replace(world.options, batch_size=2)):
        eventually(lambda: len(world.rows("people")) == 5)


def test_where_dbt_itself_fails_no_data_wakes_it_before_its_next_try(
    world: Warehouse, looks: threading.Semaphore
) -> None:
    project = world.options.project / "dbt_project.yml"
    good = project.read_text()
    project.write_text("name: broken\nprofile: default\nmodel-paths: 7\n")
    tries: list[Collection[str]] = []
    with pytest.MonkeyPatch.context() as patched:
        original = DbtRunner.run

        def run(self: DbtRunner, **given: Any) -> RunOutcome:
            tries.append(given["exclude"])
            return original(self, **given)

        patched.setattr(DbtRunner, "run", run)
        patched.setattr("cht_sync.transform.pace.new_retries", lambda interval: iter([1e9]))
        with looping(world.options):
            eventually(lambda: runs(world) == ["failed"])
            assert [problem.name for problem in shown(world).problems] == ["dbt"]
            world.put("ada", {"type": "person"})
            await_looks(looks, 5)
            assert len(tries) == 1
    project.write_text(good)
    with looping(world.options):
        eventually(lambda: world.rows("people", "ada"))


def test_only_one_runs_the_models_at_a_time(warehouse: Warehouse) -> None:
    options = warehouse.options
    with connected(options) as first, connected(options) as second:
        with sole_runner(first, "dbt") as held:
            assert held
            with sole_runner(second, "dbt") as also_held:
                assert not also_held
            with sole_runner(second, "another") as other_schema:
                assert other_schema
        with sole_runner(second, "dbt") as held_later:
            assert held_later
