"""`cht-sync verify` as an operator meets it: words, JSON, exit codes, faults."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from waiting import eventually

from cht_sync.reconcile import couch as couch_module
from cht_sync.reconcile.couch import Couch
from reconcile.world import World, at_once

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couch_module, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(couch_module, "LONGEST_PAUSE", 0.05)


def test_the_same_is_exit_code_0(world: World) -> None:
    world.put("a", "b")
    world.load()
    answer = world.run("verify")
    assert answer.exit_code == 0
    assert answer.stdout == f"{world.database}: same (2 documents, 0 deletions)\n"


def test_differences_are_exit_code_3_with_examples_and_what_to_do(world: World) -> None:
    world.put(*(f"d{number:02}" for number in range(14)), "bell\x07")
    answer = world.run("verify")
    assert answer.exit_code == 3
    assert f"{world.database}: 15 missing (15 documents, 0 deletions)" in answer.stdout
    assert "bell\\x07, d00, d01" in answer.stdout
    assert "and 5 more" in answer.stdout
    assert "cht-sync verify --repair" in answer.stdout
    repaired = world.run("verify", "--repair")
    assert repaired.exit_code == 0
    assert "same" in repaired.stdout
    assert "repaired: 15 written" in repaired.stdout


def test_the_json_has_the_shape_of_the_design(world: World) -> None:
    world.put(*(f"d{number}" for number in range(5)), "gone")
    world.load()
    world.delete("gone")
    world.load()
    world.forget("d1", "d2", "d3")
    world.damage("insert into {} (_id, _rev, saved_timestamp) values ('purged', '1-x', now())")
    answer = world.run("verify", "--json", "--limit", "2")
    assert answer.exit_code == 3
    assert json.loads(answer.stdout) == {
        "same": False,
        "databases": [
            {
                "name": world.database,
                "same": False,
                "compared": True,
                "problem": None,
                "documents": 5,
                "deletions": 1,
                "rows": 3,
                "tombstones": 1,
                "missing": ["d1", "d2"],
                "stale": [],
                "extra": ["purged"],
                "dead_lettered": [],
                "dropped": [],
                "counts": {"missing": 3, "stale": 0, "extra": 1, "dead_lettered": 0, "dropped": 0},
                "in_flight": 0,
            }
        ],
    }
    repaired = json.loads(world.run("verify", "--json", "--repair").stdout)
    assert repaired["same"]
    assert repaired["databases"][0]["repaired"] == {"written": 4, "moved_on": 0, "refused": 0}


def test_a_repair_is_not_advised_where_there_are_only_dead_letters(world: World) -> None:
    world.query("alter table {} add check (not doc ? 'refused')")
    world.put("bad", refused=True)
    with world.pipeline():
        eventually(lambda: len(world.letters()) == 1)
    answer = world.run("verify")
    assert answer.exit_code == 3
    assert f"{world.database}: 1 dead letter (1 document, 0 deletions)" in answer.stdout
    assert "dead-letters list" in answer.stdout
    assert "--repair" not in answer.stdout
    world.put("missing")
    assert "--repair" in world.run("verify").stdout


def test_each_database_is_verified_or_those_that_are_named(world: World, couchdb_server: Any) -> None:
    other = f"{world.database}-other"
    client = couchdb_server.client()
    client.create_database(other)
    try:
        world.changes = {"COUCHDB_DBS": f"{world.database} {other}"}
        world.installation.init(world.changes["COUCHDB_DBS"])
        client.write(other, [{"_id": "a"}])
        answer = world.run("verify")
        assert answer.exit_code == 3
        assert f"{world.database}: same" in answer.stdout
        assert f"{other}: 1 missing" in answer.stdout
        assert world.run("verify", "--database", world.database).exit_code == 0
        assert world.run("verify", "--database", other).exit_code == 3
    finally:
        client.delete_database(other)
        client.close()


def test_a_database_that_is_not_synced_is_wrong_usage(world: World) -> None:
    answer = world.run("verify", "--database", "stranger")
    assert answer.exit_code == 2
    assert "stranger is none of COUCHDB_DBS" in answer.stderr


def test_a_table_that_is_not_there_is_told_with_what_to_do(world: World) -> None:
    world.query("drop table {} cascade")
    answer = world.run("verify")
    assert answer.exit_code == 1
    assert "init-db" in answer.stderr


def test_a_postgresql_that_is_not_there_is_told(world: World) -> None:
    world.changes = {"POSTGRES_PORT": "9"}
    answer = world.run("verify")
    assert answer.exit_code == 1
    assert "PostgreSQL at 127.0.0.1:9" in answer.stderr


def test_a_couchdb_that_is_not_there_is_told(world: World) -> None:
    world.changes = {"COUCHDB_PORT": "9"}
    answer = world.run("verify")
    assert answer.exit_code == 1
    assert "does not answer" in answer.stderr


def test_postgresql_going_away_in_the_middle_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put("a", "b")
    world.load()
    changes = Couch.changes

    def end_the_connection(couch: Couch, *arguments: Any) -> Any:
        world.installation.query(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'cht-sync' and datname = current_database() and usename ~ '_dbt$'"
        )
        return changes(couch, *arguments)

    monkeypatch.setattr(Couch, "changes", end_the_connection)
    world.delete("a")
    answer = world.run("verify")
    assert answer.exit_code == 1
    assert "PostgreSQL failed" in answer.stderr


def test_couchdb_going_away_and_coming_back_in_the_middle_changes_nothing(
    world: World, couchdb_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("a", "b", "c")
    world.load()
    monkeypatch.setattr(couch_module, "LONGEST_PAUSE", 2.0)
    monkeypatch.setattr(couch_module, "PAGE", 2)
    ask, restarting = Couch._ask, threading.Thread(target=couchdb_server.node.start, daemon=True)

    def interrupted(couch: Couch, path: str, query: dict[str, str], *arguments: Any) -> Any:
        if "startkey" in query and restarting.ident is None:
            couchdb_server.node.stop()
            restarting.start()
        return ask(couch, path, query, *arguments)

    monkeypatch.setattr(Couch, "_ask", interrupted)
    answer = world.run("verify")
    restarting.join(PATIENCE)
    assert (answer.exit_code, "same" in answer.stdout) == (0, True)


def test_couchdb_that_stays_away_is_told(
    world: World, couchdb_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("a")
    world.load()
    listed = Couch.listed

    def stop_first(couch: Couch) -> Any:
        couchdb_server.node.stop()
        return listed(couch)

    monkeypatch.setattr(Couch, "listed", stop_first)
    try:
        answer = world.run("verify")
    finally:
        couchdb_server.node.start()
    assert answer.exit_code == 1
    assert "does not answer" in answer.stderr


def test_ctrl_c_ends_a_query_that_takes_long(world: World) -> None:
    world.put("a")
    world.load()
    with world.installation.connected() as blocking, blocking, blocking.cursor() as cursor:
        cursor.execute(world.sql("lock table {} in access exclusive mode"))
        running = subprocess.Popen(
            [sys.executable, "-m", "cht_sync", "verify", "--env", "gamma"],
            env={**os.environ, **world.environment()},
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        eventually(lambda: waiting_queries(world) == 1)
        running.send_signal(signal.SIGINT)
        _printed, said = running.communicate(timeout=PATIENCE)
        assert (running.returncode, said) == (130, b"")
        eventually(lambda: waiting_queries(world) == 0)


def waiting_queries(world: World) -> int:
    found: int = world.installation.value(
        "select count(*) from pg_stat_activity where datname = current_database() "
        "and usename ~ '_dbt$' and wait_event_type = 'Lock'"
    )
    return found


def test_ctrl_c_during_a_repair_writes_whole_rows_or_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(*(f"{number:03}" for number in range(120)))
    document = Couch.document
    asked = 0

    def interrupted(couch: Couch, *arguments: Any) -> bytes | None:
        nonlocal asked
        asked += 1
        if asked == 75:
            raise KeyboardInterrupt
        return document(couch, *arguments)

    monkeypatch.setattr(Couch, "document", interrupted)
    assert world.run("verify", "--repair").exit_code == 130
    winners = world.winners()
    rows = world.rows()
    assert len(rows) == 50
    assert all(winners[one] == row for one, row in rows.items())
    monkeypatch.undo()
    assert world.run("verify", "--repair").exit_code == 0


def test_two_verifies_at_once_do_not_disturb_each_other(world: World) -> None:
    world.put(*(f"{number:03}" for number in range(50)))
    world.load()
    results = at_once(world.verify, 3)
    assert [result.finding.same for result in results] == [True, True, True]


def test_verify_needs_no_more_than_dbts_role(world: World) -> None:
    world.put("a")
    world.load()
    world.changes = {"POSTGRES_USER": "nobody", "POSTGRES_PASSWORD": "wrong"}
    assert world.run("verify").exit_code == 0
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        role = f"{world.installation.name}_dbt"
        with world.installation.login("dbt") as connection, connection.cursor() as cursor:
            cursor.execute("select current_user")
            assert cursor.fetchone() == (role,)
            cursor.execute(world.sql("delete from {}"))
