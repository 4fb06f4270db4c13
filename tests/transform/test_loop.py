from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.transform.changes import Newest, connected, newest_change, sole_runner
from cht_sync.transform.loop import loop
from cht_sync.transform.options import TransformOptions

from .warehouse import OWN_PACKAGE, Warehouse

PATIENCE = 60.0


@contextmanager
def looping(options: TransformOptions) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=loop, args=(options, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def eventually(found: Callable[[], Any]) -> Any:
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.05)):
        try:
            if value := found():
                return value
        except psycopg2.errors.UndefinedTable:
            pass
        pause.wait(0.05)
    raise AssertionError(f"not within {PATIENCE} s")


def results(warehouse: Warehouse) -> list[str]:
    with warehouse.connection, warehouse.connection.cursor() as cursor:
        cursor.execute("select result from dbt.dbt_results order by started_at")
        return [result for (result,) in cursor.fetchall()]


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


def test_a_change_wakes_the_loop_and_a_replay_does_not(fresh: Warehouse, looks: threading.Semaphore) -> None:
    fresh.put("amina", {"type": "person", "name": "Amina"})
    with looping(fresh.options):
        eventually(lambda: fresh.rows("person", "amina"))
        eventually(lambda: results(fresh) == ["success"])

        with fresh.connection, fresh.connection.cursor() as cursor:
            cursor.execute("update v1.medic set doc = doc")
        await_looks(looks, 4)
        assert results(fresh) == ["success"]

        fresh.put("amina", {"type": "person", "name": "Amina N."})
        eventually(lambda: fresh.row("person", "amina")["name"] == "Amina N.")


def test_the_loop_outlives_a_postgres_that_is_away_and_says_so_once(
    fresh: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cht_sync.transform")
    options = fresh.options
    with looping(options):
        eventually(lambda: results(fresh) == ["success"])
        fresh.connection.autocommit = True
        with fresh.connection.cursor() as cursor:
            cursor.execute(sql.SQL("alter role {} nologin").format(sql.Identifier(options.user)))
            cursor.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", (options.user,)
            )
            eventually(lambda: "not permitted to log in" in caplog.text)
            cursor.execute(sql.SQL("alter role {} login").format(sql.Identifier(options.user)))
        fresh.connection.autocommit = False
        fresh.put("later", {"type": "person"})
        eventually(lambda: fresh.rows("person", "later"))
    assert caplog.text.count("not permitted to log in") == 1
    assert "PostgreSQL is back" in caplog.text


def test_a_failing_model_does_not_stop_the_loop(fresh: Warehouse, tmp_path: Path) -> None:
    package = Path(shutil.copytree(OWN_PACKAGE, tmp_path / "package"))
    (package / "models" / "contacts" / "person.sql").write_text("select no_such_column")
    with looping(replace(fresh.options, project=package)):
        eventually(lambda: results(fresh)[:2] == ["failed", "failed"])
        fresh.put("report", {"type": "data_record"})
        eventually(lambda: fresh.rows("data_record", "report"))


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
