"""`cht-sync resync` that is killed, interrupted, or loses a server in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

from cht_sync.reconcile import contents
from cht_sync.reconcile import couch as couch_module
from cht_sync.reconcile.couch import Couch
from reconcile.world import World

PATIENCE = 60.0
DAMAGE = "update {} set doc = '{{\"damaged\": true}}' where _id = any(%s)"
IDS = [f"d{number:03}" for number in range(200)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couch_module, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(couch_module, "LONGEST_PAUSE", 0.05)


def mended(world: World) -> set[str]:
    winners = world.winners()
    return {one for one, row in world.rows().items() if row == winners[one]}


def waiting(world: World) -> int:
    found: int = world.installation.value(
        "select count(*) from pg_stat_activity where datname = current_database() "
        "and application_name = 'cht-sync' and wait_event_type = 'Lock'"
    )
    return found


@contextmanager
def stuck(world: World) -> Iterator[subprocess.Popen[str]]:
    """A resync, as a process, of damaged rows: it has written some and waits for a row that is locked."""
    world.put(*IDS)
    world.load()
    world.damage(DAMAGE, IDS)
    with world.installation.connected() as blocking, blocking, blocking.cursor() as cursor:
        cursor.execute(world.sql("select from {} where _id = %s for update"), (IDS[120],))
        running = subprocess.Popen(
            [sys.executable, "-m", "cht_sync", "resync", world.database, "--env", "gamma"],
            env={**os.environ, **world.environment()},
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            eventually(lambda: waiting(world) == 1)
            yield running
        finally:
            running.kill()
            running.communicate()


def test_killed_in_the_middle_it_leaves_whole_rows_and_another_run_does_the_rest(world: World) -> None:
    with stuck(world) as running:
        running.kill()
        assert running.wait(PATIENCE) == -signal.SIGKILL
    eventually(lambda: waiting(world) == 0)
    written = mended(world)
    assert len(written) == 2 * contents.BATCH
    assert all(row[2] == {"damaged": True} for one, row in world.rows().items() if one not in written)
    answer = world.run("resync", world.database)
    assert f"{len(IDS) - len(written)} of {len(IDS)} documents written anew" in answer.stdout
    assert mended(world) == set(IDS)


def test_killed_in_the_middle_it_keeps_no_pipeline_from_writing(world: World) -> None:
    with stuck(world) as running:
        running.kill()
        assert running.wait(PATIENCE) == -signal.SIGKILL
    with world.pipeline():
        world.put(IDS[0], "new")
        eventually(lambda: mended(world) >= {IDS[0], "new"})


def test_ctrl_c_says_how_far_it_was_and_leaves_whole_rows(world: World) -> None:
    with stuck(world) as running:
        running.send_signal(signal.SIGINT)
        printed, said = running.communicate(timeout=PATIENCE)
        assert (running.returncode, printed) == (130, "")
        assert said == (
            f"{world.database}: interrupted after 200 of about 200 documents, 100 written anew. What was "
            "written stays; another run begins at the start and writes only what differs.\n"
        )
    assert len(mended(world)) == 2 * contents.BATCH
    assert world.run("resync", world.database).exit_code == 0
    assert mended(world) == set(IDS)


@pytest.mark.parametrize("variable", ["COUCHDB_PORT", "POSTGRES_PORT"])
@pytest.mark.parametrize("words", [(), ("--doc", "a")])
def test_a_server_that_is_not_there_is_told_in_one_line(
    world: World, variable: str, words: tuple[str, ...]
) -> None:
    world.put("a")
    world.changes = {variable: "9"}
    answer = world.run("resync", world.database, *words)
    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert len([line for line in answer.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert "does not answer" in answer.stderr or "PostgreSQL at 127.0.0.1:9" in answer.stderr


def test_postgresql_going_away_in_the_middle_is_told_and_what_was_written_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(*IDS)
    world.load()
    world.damage(DAMAGE, IDS)
    write, times = contents.write, 0

    def cut_off(*arguments: Any) -> Any:
        nonlocal times
        times += 1
        if times == 3:
            world.installation.query(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'cht-sync' "
                "and datname = current_database() and usename = current_user"
            )
        return write(*arguments)

    monkeypatch.setattr(contents, "write", cut_off)
    answer = world.run("resync", world.database)
    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith(f"error: {world.database}: PostgreSQL failed: ")
    assert answer.stderr.count("\n") == 2
    assert len(mended(world)) == 2 * contents.BATCH
    monkeypatch.undo()
    assert world.run("resync", world.database).exit_code == 0
    assert mended(world) == set(IDS)


def between_pages(monkeypatch: pytest.MonkeyPatch, work: Any) -> None:
    """Do it once, when the second page of documents is asked for."""
    decoded, done = Couch._decoded_rows, threading.Event()
    monkeypatch.setattr(couch_module, "DOCUMENTS_PAGE", 50)

    def count(couch: Couch, lines: Any) -> Any:
        if getattr(couch, "decoded_before", False) and not done.is_set():
            done.set()
            work()
        couch.decoded_before = True  # type: ignore[attr-defined]
        return decoded(couch, lines)

    monkeypatch.setattr(Couch, "_decoded_rows", count)


def test_couchdb_going_away_and_coming_back_in_the_middle_changes_nothing(
    world: World, couchdb_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(*IDS)
    world.load()
    world.damage(DAMAGE, IDS)
    monkeypatch.setattr(couch_module, "LONGEST_PAUSE", 2.0)
    restarting = threading.Thread(target=couchdb_server.node.start, daemon=True)

    def restart() -> None:
        couchdb_server.node.stop()
        restarting.start()

    between_pages(monkeypatch, restart)
    answer = world.run("resync", world.database)
    restarting.join(PATIENCE)
    assert answer.exit_code == 0, answer.output
    assert "200 of 200 documents written anew" in answer.stdout
    assert mended(world) == set(IDS)


def test_couchdb_that_stays_away_is_told_and_what_was_written_stays(
    world: World, couchdb_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(*IDS)
    world.load()
    world.damage(DAMAGE, IDS)
    monkeypatch.setattr(contents, "AT_ONCE", 20)
    between_pages(monkeypatch, couchdb_server.node.stop)
    try:
        answer = world.run("resync", world.database)
    finally:
        couchdb_server.node.start()
    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert "does not answer" in answer.stderr
    assert 20 <= len(mended(world)) < 200
    monkeypatch.undo()
    assert world.run("resync", world.database).exit_code == 0
    assert mended(world) == set(IDS)
