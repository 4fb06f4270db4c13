"""The dbt loop refreshes the views for couch2pg's users."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transform.looping import PATIENCE, eventually, looping

from cht_sync.runtime.dbt import transform_options
from cht_sync.transform import couch2pg_refresh
from cht_sync.transform.couch2pg import MARK
from cht_sync.transform.couch2pg_refresh import refreshing
from cht_sync.transform.metrics import Metrics
from cht_sync.transform.options import TransformOptions
from migrate.both import Both

INTERVAL = 0.05
NAMES = "select name from couch2pg.contactview_metadata where uuid = 'ada'"


@pytest.fixture
def world(ours: Both) -> Iterator[Both]:
    """The views, over one document."""
    ours.store("medic", [{"_id": "ada", "type": "person", "name": "Ada"}])
    ours.migrate()
    return ours


def options(both: Both, **changes: Any) -> TransformOptions:
    return replace(transform_options(both.settings), couch2pg_interval=INTERVAL, **changes)


def rename(both: Both, name: str) -> None:
    both.query(
        "update v1.medic set doc = doc || jsonb_build_object('name', %s::text) where _id = 'ada'", name
    )


def count(metrics: Metrics, result: str) -> float:
    (line,) = [
        one
        for one in metrics.text().decode().splitlines()
        if one.startswith(f'cht_sync_dbt_couch2pg_refreshes_total{{result="{result}"}}')
    ]
    return float(line.split()[-1])


def test_a_change_of_documents_is_in_the_views_and_no_change_is_no_refresh(
    world: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = threading.Semaphore(0)
    newest = couch2pg_refresh.newest_change

    def look(*given: Any) -> Any:
        looks.release()
        return newest(*given)

    monkeypatch.setattr(couch2pg_refresh, "newest_change", look)
    metrics = Metrics()
    with refreshing(options(world), metrics):
        rename(world, "Ada Anew")
        eventually(lambda: world.query(NAMES) == [("Ada Anew",)])
        rename(world, "Ada Again")
        eventually(lambda: world.query(NAMES) == [("Ada Again",)])
        for _ in range(3):
            assert looks.acquire(timeout=PATIENCE)
        before = count(metrics, "success")
        for _ in range(10):
            assert looks.acquire(timeout=PATIENCE)
        assert count(metrics, "success") <= before + 1
    assert count(metrics, "failed") == 0


def test_views_that_are_made_while_it_runs_are_refreshed(ours: Both) -> None:
    with refreshing(options(ours), Metrics()):
        ours.store("medic", [{"_id": "ada", "type": "person", "name": "Ada"}])
        ours.migrate()
        rename(ours, "Ada Anew")
        eventually(lambda: ours.query(NAMES) == [("Ada Anew",)])
        ours.drop()
        ours.migrate()
        rename(ours, "Ada Again")
        eventually(lambda: ours.query(NAMES) == [("Ada Again",)])


def test_a_view_that_fails_is_told_without_values_counted_and_tried_again(
    world: Both, caplog: pytest.LogCaptureFixture
) -> None:
    world.query(
        "create materialized view couch2pg.brittle as select (doc ->> 'n')::int as n from couch2pg.couchdb"
    )
    metrics = Metrics()
    with caplog.at_level(logging.INFO), refreshing(options(world), metrics):
        world.store("medic", [{"_id": "odd", "type": "person", "n": "Ada's secret"}])
        eventually(lambda: count(metrics, "failed") >= 2)
        rename(world, "Ada Anew")
        eventually(lambda: world.query(NAMES) == [("Ada Anew",)])
        succeeded = count(metrics, "success")
        world.query("update v1.medic set doc = doc - 'n' where _id = 'odd'")
        eventually(lambda: count(metrics, "success") > succeeded)
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert warnings[0].startswith(
        "views of couch2pg are not refreshed: brittle: invalid input syntax for type integer"
    )
    assert "secret" not in caplog.text


def test_nothing_is_refreshed_where_the_interval_is_0(world: Both) -> None:
    before = threading.active_count()
    with refreshing(replace(options(world), couch2pg_interval=0.0), Metrics()):
        assert threading.active_count() == before


@pytest.mark.parametrize("is_called_ours", [False, True])
def test_a_schema_of_somebody_else_is_not_called(
    ours: Both, monkeypatch: pytest.MonkeyPatch, is_called_ours: bool
) -> None:
    analyst = ours.person("analyst")
    comment = f"comment on schema couch2pg is '{MARK}'" if is_called_ours else "select 1"
    ours.query(f"""
        create schema couch2pg authorization {analyst}; {comment}; set role {analyst};
        create table couch2pg.called (at timestamptz);
        create function couch2pg.refresh_matviews() returns int language sql security definer
          as 'insert into couch2pg.called values (now()); select 1';
        grant usage on schema couch2pg to {ours.installation.name}_dbt;
    """)
    looks = threading.Semaphore(0)
    may_refresh = couch2pg_refresh.may_refresh

    def look(connection: Any, raw_schema: str) -> bool:
        looks.release()
        return may_refresh(connection, raw_schema)

    monkeypatch.setattr(couch2pg_refresh, "may_refresh", look)
    with refreshing(options(ours), Metrics()):
        for _ in range(3):
            assert looks.acquire(timeout=PATIENCE)
    assert ours.query("select * from couch2pg.called") == []


def test_a_refresh_that_waits_ends_with_the_loop(world: Both) -> None:
    waiting = """
        select count(*) from pg_stat_activity
        where query ~ 'refresh_matviews' and wait_event_type = 'Lock' and datname = %s
    """
    with closing(world.installation.connect()) as other, other.cursor() as cursor:
        cursor.execute("select pg_advisory_lock(hashtextextended('cht-sync couch2pg refresh', 0))")
        with refreshing(options(world), Metrics()):
            eventually(lambda: world.query(waiting, world.installation.name) == [(1,)])
    assert [one for one in threading.enumerate() if one.name == "couch2pg refresh"] == []


def test_a_lost_connection_is_made_again(world: Both) -> None:
    kill = "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s"
    with refreshing(options(world), Metrics()):
        rename(world, "Ada Anew")
        eventually(lambda: world.query(NAMES) == [("Ada Anew",)])
        world.query(kill, f"{world.installation.name}_dbt")
        rename(world, "Ada Again")
        eventually(lambda: world.query(NAMES) == [("Ada Again",)])


def test_the_loop_refreshes_beside_its_runs(world: Both, tmp_path: Path) -> None:
    with looping(options(world, interval=INTERVAL, work_folder=tmp_path / "dbt")):
        rename(world, "Ada Anew")
        eventually(lambda: world.query(NAMES) == [("Ada Anew",)])
        eventually(lambda: world.query("select name from dbt.person where uuid = 'ada'") == [("Ada Anew",)])


def test_a_time_limit_of_the_role_does_not_end_a_refresh(world: Both) -> None:
    world.query(f"alter role {world.installation.name}_dbt set statement_timeout = '400ms'")
    world.query("create materialized view couch2pg.slow as select pg_sleep(1)::text as slept with no data")
    metrics = Metrics()
    with refreshing(options(world), metrics):
        rename(world, "Ada Anew")
        eventually(lambda: count(metrics, "success") + count(metrics, "failed") > 0)
    assert count(metrics, "failed") == 0
    assert world.query("select slept from couch2pg.slow") == [("",)]


def test_what_failed_before_a_refresh_was_cancelled_is_told(
    world: Both, caplog: pytest.LogCaptureFixture
) -> None:
    world.query("""
        create materialized view couch2pg.a_brittle as select 1 / 0 as n with no data;
        create materialized view couch2pg.b_slow as select pg_sleep(30)::text as slept with no data;
    """)
    cancel = """
        select pg_cancel_backend(pid) from pg_stat_activity
        where wait_event = 'PgSleep' and datname = current_database()
    """
    metrics = Metrics()
    with caplog.at_level(logging.INFO), refreshing(options(world), metrics):
        eventually(lambda: world.query(cancel) == [(True,)])
        eventually(lambda: count(metrics, "failed") > 0)
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert "a_brittle: division by zero" in warnings[0]
    assert "canceling statement due to user request" in warnings[0]


def test_a_refresh_that_computes_a_view_ends_with_the_loop(world: Both) -> None:
    world.query("create materialized view couch2pg.slow as select pg_sleep(30)::text as slept with no data")
    at_work = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = %s"
    with refreshing(options(world), Metrics()):
        eventually(lambda: world.query(at_work, world.installation.name) == [(1,)])
    assert world.query("select relispopulated from pg_class where relname = 'slow'") == [(False,)]
