"""The real engine with the configuration that is rendered for it, from a feed to a warehouse."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    """A run; `failures` are what it ended with."""

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


@contextmanager
def engine(
    warehouse: Served, folder: Path, *, port: int, database: str = "medic", **login: str
) -> Iterator[Engine]:
    """Run until the end of the block, which awaits what it wants to see."""
    variables = {
        "COUCHDB_HOST": "127.0.0.1",
        "COUCHDB_PORT": str(port),
        "COUCHDB_USER": "medic",
        "COUCHDB_PASSWORD": "password",
        "HTTP_ENDPOINT": f"127.0.0.1:{warehouse.port}",
        "PGRST_JWT_SECRET": SECRET,
        **login,
    }
    settings = load(
        Environment.LOCAL,
        home=folder,
        environ={**variables, "COUCHDB_DBS": database, "POSTGRES_DB": warehouse.installation.name},
    )
    configuration = render(settings, engine="native")[f"pipeline/{database}.conf"]
    running = Engine()
    thread = threading.Thread(target=running.run, args=(configuration, variables, folder), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def await_position(warehouse: Served, sequence: str, running: Engine) -> None:
    """Wait until everything up to `sequence` is safe."""

    def there() -> bool:
        assert not running.failures, running.failures
        found = warehouse.installation.query("select seq, pending from v1.couchdb_progress")
        return found == [(sequence, 0)]

    eventually(there)


def letter_lines(folder: Path) -> list[dict[str, Any]]:
    """The dead letters in the engine's file."""
    path = folder / "dead_letter_queue" / "medic.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
