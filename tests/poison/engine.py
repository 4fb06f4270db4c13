"""The real engine with the configuration that is rendered for it, from a feed to a warehouse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from waiting import eventually
from warehouse.served import SECRET, Served

from cht_sync.environments import Environment
from cht_sync.pipeline.run import run_pipelines
from cht_sync.pipeline.sources import PipelineSource, load_all
from cht_sync.render import render
from cht_sync.settings import load

PATIENCE = 60.0


@dataclass
class Engine:
    """A run in a thread; `failures` are what it ended with."""

    stop: threading.Event = field(default_factory=threading.Event)
    failures: list[BaseException] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self, configuration: str, variables: dict[str, str], folder: Path) -> None:
        try:
            pipelines = load_all([PipelineSource("medic", configuration)], variables, folder)
            run_pipelines(pipelines, self.stop)
        except BaseException as failure:
            self.failures.append(failure)
        finally:
            self.ended.set()


def configured(
    warehouse: Served, folder: Path, *, port: int, database: str, **login: str
) -> tuple[str, dict[str, str]]:
    """What is rendered for a native pipeline, and the variables that it names."""
    variables = {
        "COUCHDB_HOST": "127.0.0.1",
        "COUCHDB_PORT": str(port),
        "COUCHDB_USER": "medic",
        "COUCHDB_PASSWORD": "password",
        "HTTP_ENDPOINT": f"127.0.0.1:{warehouse.port}",
        "PGRST_JWT_SECRET": SECRET,
        **login,
    }
    environ = {**variables, "COUCHDB_DBS": database, "POSTGRES_DB": warehouse.installation.name}
    settings = load(Environment.LOCAL, home=folder, environ=environ)
    return render(settings, engine="native")[f"pipeline/{database}.conf"], variables


@contextmanager
def engine(
    warehouse: Served, folder: Path, *, port: int, database: str = "medic", **login: str
) -> Iterator[Engine]:
    """Run until the end of the block, which awaits what it wants to see."""
    configuration, variables = configured(warehouse, folder, port=port, database=database, **login)
    running = Engine()
    thread = threading.Thread(target=running.run, args=(configuration, variables, folder), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


@contextmanager
def engine_process(warehouse: Served, folder: Path, *, port: int) -> Iterator[psutil.Process]:
    """Run as a process of its own, as an operator does."""
    configuration, variables = configured(warehouse, folder, port=port, database="medic")
    (folder / "medic.conf").write_text(configuration)
    command = [sys.executable, "-m", "cht_sync", "pipeline", "run", "-f", str(folder / "medic.conf")]
    with (folder / "engine.log").open("wb") as log:
        started = subprocess.Popen(
            command, env={**os.environ, **variables}, cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        assert started.wait(PATIENCE) == 0, (folder / "engine.log").read_text()


def await_position(warehouse: Served, sequence: str, running: Engine | psutil.Process) -> None:
    """Wait until everything up to `sequence` is safe."""

    def there() -> bool:
        if isinstance(running, Engine):
            assert not running.failures, running.failures
        else:
            assert running.status() != psutil.STATUS_ZOMBIE
        found = warehouse.installation.query("select seq, pending from v1.couchdb_progress")
        return found == [(sequence, 0)]

    eventually(there)


def letter_lines(folder: Path) -> list[dict[str, Any]]:
    """The dead letters in the engine's file."""
    path = folder / "dead_letter_queue" / "medic.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
