"""The engine with the rendered configuration, from a CouchDB to a warehouse that is served."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from psycopg2 import sql
from waiting import eventually
from warehouse.served import SECRET, Served

from cht_sync import render
from cht_sync.environments import Environment
from cht_sync.pipeline.run import run_pipelines
from cht_sync.pipeline.sources import PipelineSource, load_all
from cht_sync.settings import CHECKOUT, load

PATIENCE = 30.0


class RunningPipeline:
    """One pipeline of one database; in a thread, or in a process that can be killed."""

    def __init__(
        self,
        folder: Path,
        served: Served,
        port: int,
        *,
        user: str = "medic",
        password: str = "password",
        database: str = "medic",
        **options: object,
    ) -> None:
        self._folder = folder
        self._environment = {
            "COUCHDB_HOST": "127.0.0.1",
            "COUCHDB_PORT": str(port),
            "COUCHDB_USER": user,
            "COUCHDB_PASSWORD": password,
            "HTTP_ENDPOINT": f"127.0.0.1:{served.port}",
            "PGRST_JWT_SECRET": SECRET,
        }
        self.served = served
        self._database = database
        self._table = sql.Identifier("v1", database)
        settings = load(
            Environment.GAMMA,
            home=folder,
            environ={
                **self._environment,
                "COUCHDB_DBS": database,
                "POSTGRES_DB": served.installation.name,
                "POSTGRES_PASSWORD": "unused",
                "PGRST_DB_PASSWORD": "unused",
                "DBT_POSTGRES_PASSWORD": "unused",
            },
            needs=(),
        )
        text = render.render(settings, engine="native")[f"pipeline/{database}.conf"]
        text = text.replace('"data/', f'"{folder}/')
        for name, value in options.items():
            lines = [line for line in text.splitlines() if not line.strip().startswith(f"{name} =>")]
            at = next(n for n, line in enumerate(lines) if "keep_tombstone" in line)
            lines.insert(at, f"    {name} => {value}")
            text = "\n".join(lines)
        self.config = folder / "pipeline.conf"
        self.config.write_text(text)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.failures: list[Exception] = []

    def start(self) -> None:
        """Run it in a thread."""
        self._stop = threading.Event()
        source = PipelineSource(self._database, self.config.read_text())
        pipelines = load_all([source], self._environment, self._folder)
        self.metrics = pipelines[0].pipeline.metrics

        def run() -> None:
            try:
                run_pipelines(pipelines, self._stop)
            except Exception as error:
                self.failures.append(error)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it in order."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive()
            self._thread = None
        if self._process is not None:
            self.kill()
        assert self.failures == []

    def start_process(self, *flags: str) -> None:
        """Run it in a process, with more flags."""
        command = [sys.executable, "-m", "cht_sync", "pipeline", "run", "-f", str(self.config)]
        with (self._folder / "engine.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--api.enabled", "false", *flags],
                env={**self._environment, "PYTHONPATH": str(CHECKOUT)},
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )

    def end_process(self) -> int:
        """End it in order; returns the exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(PATIENCE)
        self._process = None
        return code

    @property
    def log(self) -> str:
        """What the process said."""
        return (self._folder / "engine.log").read_text()

    def kill(self) -> None:
        """The process dies at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    # What the warehouse has.

    def rows(self) -> dict[str, str]:
        """The revision of each document that is not deleted."""
        query = sql.SQL("select _id, _rev from {} where not _deleted").format(self._table)
        return dict(self.served.installation.query(query))

    def tombstones(self) -> set[str]:
        query = sql.SQL("select _id from {} where _deleted").format(self._table)
        return {id for (id,) in self.served.installation.query(query)}

    def progress(self, *columns: str) -> tuple[object, ...]:
        """Columns of the only position; nothing where there is none yet."""
        found = self.served.installation.query(f"select {', '.join(columns)} from v1.couchdb_progress")
        return found[0] if found else ()

    def await_rows(self, rows: dict[str, str]) -> None:
        eventually(lambda: self.rows() == rows)

    def await_progress(self, **values: object) -> None:
        eventually(lambda: self.progress(*values) == tuple(values.values()))
