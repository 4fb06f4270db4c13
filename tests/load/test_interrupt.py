"""Ctrl-C and a service manager's end, which reach all processes of a load at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from reconcile.world import World
from waiting import eventually

from cht_sync import process
from cht_sync.errors import ChtSyncError
from cht_sync.load import run
from cht_sync.load.ledger import Progress
from cht_sync.reconcile import couch
from cht_sync.reconcile.couch import Couch
from cht_sync.reconcile.table import Table
from cht_sync.runtime.service import inherited_environment

IDS = [f"{number:04x}" for number in range(400)]
INTERRUPTED = 130


def started(world: World, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cht_sync", "load", world.database, "--env", "gamma", "--workers", "2"]
    return process.start(command, log=log, env={**inherited_environment(), **world.environment()})


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_ends_a_load_in_order(
    world: World, tmp_path: Path, way: signal.Signals
) -> None:
    world.put(*IDS)
    run.begin(world.settings, world.database, chunk_size=10, anew=False)
    loading = started(world, tmp_path / "load.log")
    eventually(lambda: run.progress_of(world.settings, world.database).chunks_done > 2)
    os.killpg(loading.pid, way)
    said = (tmp_path / "load.log").read_text
    assert loading.wait(60) == INTERRUPTED, said()
    assert "Traceback" not in said()
    assert f"Go on: cht-sync load {world.database} --env gamma" in said()


def test_ctrl_c_while_workers_begin_says_nothing_of_them(world: World, tmp_path: Path) -> None:
    world.put(*IDS)
    run.begin(world.settings, world.database, chunk_size=10, anew=False)
    loading = started(world, tmp_path / "load.log")
    family = psutil.Process(loading.pid)
    eventually(lambda: any("spawn_main" in word for one in family.children() for word in one.cmdline()))
    os.killpg(loading.pid, signal.SIGINT)
    said = (tmp_path / "load.log").read_text
    assert loading.wait(60) == INTERRUPTED, said()
    assert "Traceback" not in said()


def test_a_load_that_waits_for_couchdb_stops_at_once(
    world: World, couchdb_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couch, "FIRST_PAUSE", 10_000.0)
    stop = threading.Event()
    waits = threading.Event()

    def ask(source: Couch, _table: Table) -> None:
        couchdb_server.node.stop()
        waits.set()
        source.sequence()

    asking = threading.Thread(target=run.persistently, args=(world.settings, world.database, stop, ask))
    asking.start()
    try:
        assert waits.wait(60)
        stop.set()
        asking.join(60)
        assert not asking.is_alive()
    finally:
        couchdb_server.node.start()


def test_a_load_that_is_stopped_while_postgresql_is_away_says_what_was_seen_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(*IDS)
    run.begin(world.settings, world.database, chunk_size=10, anew=False)
    stop = threading.Event()

    def away(*_all: object) -> Progress:
        raise ChtSyncError("PostgreSQL cannot be reached")

    def after_some(progress: Progress) -> None:
        if progress.chunks_done:
            stop.set()

    monkeypatch.setattr(run, "progress_of", away)
    halfway = run.run(world.settings, world.database, workers=1, advance=after_some, stop=stop)
    assert (halfway.ended, halfway.documents > 0) == (False, True)
