"""An engine that is killed again and again while documents are written, edited and deleted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from faults.load import Load
from waiting import eventually

from cht_sync import render
from cht_sync.settings import CHECKOUT, file_name
from reconcile.world import World, found

SEED = 40_307
KILLS = 30
DOCUMENTS = 2_000
"""There at the start; as many may come while the engine is killed."""


FORKS = """
import os, sys
from cht_sync.cli import main
from cht_sync.pipeline.plugins import plugins
plugins("input")
for _line in sys.stdin:
    child = os.fork()
    if not child:
        main(sys.argv[1:])
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Has everything imported, so that an engine is a process of its own and yet there at once."""


class Engine:
    """`cht-sync pipeline run` with the rendered configuration, as a process, one after another."""

    def __init__(self, world: World) -> None:
        settings = world.settings
        text = render.render(settings, engine="native")[f"pipeline/{file_name(world.database)}.conf"]
        config = world.home / "pipeline.conf"
        config.write_text(text.replace('"data/', f'"{world.home}/data/'))
        self.log = world.home / "engine.log"
        command = ["pipeline", "run", "-f", str(config), "-b", "20", "--api.enabled", "false"]
        with self.log.open("ab") as log:
            self._forks = subprocess.Popen(
                [sys.executable, "-c", FORKS, *command],
                cwd=world.home,
                env={**os.environ, **render.variables(settings), "PYTHONPATH": str(CHECKOUT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._process = 0

    def start(self) -> None:
        assert self._forks.stdin is not None
        self._forks.stdin.write("\n")
        self._forks.stdin.flush()
        self._process = self._told()

    def end(self, number: signal.Signals) -> int:
        """Send a signal; return the exit code."""
        os.kill(self._process, number)
        return self._told()

    def close(self) -> None:
        self._forks.kill()
        self._forks.communicate()

    def _told(self) -> int:
        assert self._forks.stdout is not None
        return int(self._forks.stdout.readline())


@pytest.fixture
def engine(world: World) -> Iterator[Engine]:
    one = Engine(world)
    yield one
    one.close()


def test_an_engine_that_is_killed_thirty_times_loses_nothing_and_doubles_nothing(
    world: World, engine: Engine
) -> None:
    print(f"seed {SEED}")
    dice = random.Random(SEED)
    people = Load(world, SEED + 1, people=DOCUMENTS, pause=0.025)
    for start in range(0, DOCUMENTS, 500):
        world.put(*[f"person-{n}" for n in range(start, start + 500)])
    pause = threading.Event()
    people.start()
    moved = 0

    def batch() -> tuple[Any, ...]:
        """Changes with every request that wrote; nothing before the first."""
        rows = world.installation.query("select epoch, batch from v1.couchdb_progress")
        return rows[0] if rows else ()

    for kill in range(KILLS):
        before = batch()
        engine.start()
        if kill % 5 == 4:
            # While it starts, or takes its place as the one writer.
            pause.wait(dice.uniform(0, 0.3))
        else:
            eventually(lambda before=before: batch()[:1] != before[:1] and batch()[1:] > (1,))  # type: ignore[misc]
            pause.wait(dice.uniform(0, 0.3))
        assert engine.end(signal.SIGKILL) == -signal.SIGKILL, engine.log.read_text()
        moved += batch() != before
    people.stop()
    assert moved >= KILLS * 2 // 3
    engine.start()
    eventually(lambda: world.rows() == world.winners())
    assert engine.end(signal.SIGTERM) == 0
    rows = world.rows()
    assert sum(deleted for _rev, deleted, _doc in rows.values()) > 20
    assert world.letters() == []
    assert found(world.verify()) == {}
    assert "Traceback" not in engine.log.read_text()
