"""The services as the embedded runtime runs them, started one by one, and what they use of the machine."""

from __future__ import annotations

import random
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from psycopg2.extensions import connection as Connection

from cht_sync import process
from cht_sync.environments import Environment
from cht_sync.files import last_lines, write_atomically
from cht_sync.process import ProcessId
from cht_sync.runtime.ports import FOR_SERVERS
from cht_sync.runtime.postgres import Postgres, binaries
from cht_sync.runtime.postgrest import Postgrest
from cht_sync.runtime.service import Service, inherited_environment
from cht_sync.settings import Settings, load

PORTS = iter(random.sample(FOR_SERVERS, len(FOR_SERVERS)))
"""Each once, in another order in each process."""
SOON = 0.005
"""Seconds between two looks whether something has come."""


@dataclass(frozen=True)
class Running:
    """A service as a process."""

    service: Service
    identity: ProcessId
    log: Path

    @property
    def _process(self) -> psutil.Process:
        return psutil.Process(self.identity.pid)

    def busy(self) -> float:
        """Seconds of processor time that it and its children have used."""
        return busy(self._process)

    def must_live(self) -> None:
        """End everything where it has ended."""
        if self.identity.find() is None:
            raise SystemExit(f"{self.service.name} has ended: {' '.join(last_lines(self.log, 5))}")

    def highest_memory(self) -> float:
        """Most megabytes that it has held at once, without its children."""
        status = Path(f"/proc/{self.identity.pid}/status").read_text()
        (line,) = [one for one in status.splitlines() if one.startswith("VmHWM")]
        return int(line.split()[1]) * 1024 / 1e6

    def stop(self) -> None:
        """End it in order."""
        process.stop(self.identity, ask=self.service.stop_signal, patience=self.service.patience)


class Stand:
    """One installation; its PostgreSQL and the way into it run."""

    def __init__(self, settings: Settings, postgrest: Running, postgres: Running) -> None:
        self.settings = settings
        self.postgrest = postgrest
        self.postgres = postgres

    def connect(self) -> Connection:
        """Connect as the owner, with every statement a transaction."""
        return connect(self.settings)

    def ask(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run SQL as the owner."""
        return ask(self.settings, question, *values)

    def empty(self) -> None:
        """Take all documents and positions away, as if nothing had been read."""
        tables = ", ".join(f'v1."{name}"' for name in self.settings.couchdb_dbs)
        self.ask(f"truncate {tables}, v1.couchdb_progress")
        self.ask("vacuum analyze")
        self.ask("checkpoint")

    def psql(self, file: Path) -> None:
        """Run a file of SQL in one connection of psql."""
        settings = self.settings
        process.run(
            [
                *(binaries() / "psql", "--no-psqlrc", "--quiet", "--output=/dev/null", "--file", file),
                *("--set=ON_ERROR_STOP=1", "--host", settings.postgres_host),
                *("--port", str(settings.postgres_port), "--username", settings.postgres_user),
                settings.postgres_db,
            ],
            env={**inherited_environment(), "PGPASSWORD": settings.postgres_password},
        )

    @contextmanager
    def running(self, service: Service) -> Iterator[Running]:
        """Start a service; it may not be ready yet."""
        service.prepare(lambda _text: None)
        started = _start(service, self.settings.home)
        try:
            yield started
        finally:
            started.stop()


@contextmanager
def stand(
    folder: Path, couchdb_port: int, databases: Sequence[str] = ("medic",), *, postgrest: str = ""
) -> Iterator[Stand]:
    """A new installation that reads from a port of this machine."""
    password = secrets.token_hex(16)
    variables = {
        "COUCHDB_HOST": "127.0.0.1", "COUCHDB_PORT": str(couchdb_port), "COUCHDB_USER": "medic",
        "COUCHDB_PASSWORD": password, "COUCHDB_DBS": " ".join(databases), "COUCHDB_ALLOW_PLAIN_HTTP": "true",
        "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(free_port()), "POSTGRES_USER": "owner",
        "POSTGRES_PASSWORD": password, "DBT_POSTGRES_PASSWORD": password, "PGRST_DB_PASSWORD": password,
        "PGRST_JWT_SECRET": secrets.token_hex(32), "POSTGREST_PORT": str(free_port()),
        "LOGSTASH_API_PORT": str(free_port()), "DBT_METRICS_PORT": str(free_port()),
        "POSTGREST_BIN": postgrest,
    }  # fmt: skip
    needs = [name for name in variables if name.startswith(("COUCHDB", "POSTGRES", "PGRST", "DBT"))]
    settings = load(Environment.GAMMA, home=folder, environ=variables, read_file=False, needs=needs)
    settings.data_folder.mkdir(parents=True)
    # The loop of dbt reads its settings there.
    write_atomically(folder / ".env", "".join(f"{name}={value}\n" for name, value in variables.items()))
    postgres = Postgres(
        folder / "cluster",
        port=settings.postgres_port,
        user=settings.postgres_user,
        password=settings.postgres_password,
    )
    postgres.prepare(lambda _text: None)
    cluster = _start(postgres, folder)
    try:
        wait_until(postgres.ready)
        service = Postgrest(settings)
        service.prepare(lambda _text: None)
        way_in = _start(service, folder)
        try:
            wait_until(service.ready)
            yield Stand(settings, way_in, cluster)
        finally:
            way_in.stop()
    finally:
        cluster.stop()


def connect(settings: Settings) -> Connection:
    """Connect as the owner, with every statement a transaction."""
    connection = psycopg2.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        user=settings.postgres_user,
        password=settings.postgres_password,
        dbname=settings.postgres_db,
    )
    connection.autocommit = True
    return connection


def ask(settings: Settings, question: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run SQL as the owner."""
    with closing(connect(settings)) as connection, connection.cursor() as cursor:
        cursor.execute(question, values or None)
        return cursor.fetchall() if cursor.description else []


def busy(parent: psutil.Process, *, alone: bool = False) -> float:
    """Seconds of processor time that a process has used; with its children, unless it is `alone`."""
    total = 0.0
    for one in [parent] if alone else [parent, *parent.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # a helper of PostgreSQL's that has ended meanwhile
            times = one.cpu_times()
            total += times.user + times.system
    return total


def wait_until(is_so: Any, every: float = SOON, patience: float = 3600) -> None:
    """Look again and again."""
    pause = threading.Event()
    left = patience / every
    while not is_so():
        left -= 1
        if left < 0:
            raise SystemExit("this did not come to its end")
        pause.wait(every)


def free_port() -> int:
    """A port of loopback that nobody listens on, and that no connection is given while nobody does."""
    for port in PORTS:
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise SystemExit("all ports are taken")


def _start(service: Service, folder: Path) -> Running:
    log = folder / f"{service.name}.log"
    started = process.start(
        service.command(),
        log=log,
        env={**inherited_environment(), "PYTHONUNBUFFERED": "1", **service.environment()},
        cwd=service.work_folder(),
    )
    return Running(service, ProcessId.of(started.pid), log)
