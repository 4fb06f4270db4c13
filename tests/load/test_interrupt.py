"""Ctrl-C and a service manager's end, which reach all processes of a load at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from reconcile.world import World
from waiting import eventually

from cht_sync import process
from cht_sync.load import run
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
    assert f"Go on: cht-sync load {world.database}" in said()


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
