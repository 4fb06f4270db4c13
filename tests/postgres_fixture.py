"""A real PostgreSQL for tests: started here on a free loopback port, stopped here by its process id."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from free_ports import free_port
from psycopg2 import sql

from cht_sync import process
from cht_sync.runtime.postgres import Postgres, binaries
from cht_sync.runtime.service import inherited_environment


@dataclass(frozen=True)
class PostgresServer:
    host: str
    port: int
    user: str
    password: str
    programs: Path
    """The folder with psql and pg_dump of its version."""

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{database}"


SURVIVES_PROCESSES_BUT_NOT_THE_MACHINE = ("-c", "fsync=off", "-c", "full_page_writes=off")
"""Tests kill processes, and the kernel keeps what these wrote: no test sees whether the disk has it."""

WHEEL = "wheel"
DEBIAN = "debian"
DEBIAN_PROGRAMS = Path("/usr/lib/postgresql")


def programs_of(origin: str) -> Path | None:
    """The folder of the newest version from there; None where there is none.

    POSTGRES_PROGRAMS names a folder with postgres, initdb and psql to use in place of the wheel's.
    """
    if origin == WHEEL:
        other = os.environ.get("POSTGRES_PROGRAMS")
        return Path(other) if other else binaries()
    found = [server.parent for server in DEBIAN_PROGRAMS.glob("*/bin/postgres")]
    return max(found, key=lambda folder: int(folder.parent.name), default=None)


def on_every_server(metafunc: pytest.Metafunc) -> None:
    """Run each test that wants a PostgreSQL on both of them; a folder's conftest takes this as its hook."""
    if "postgres_server" in metafunc.fixturenames:
        metafunc.parametrize("postgres_server", (WHEEL, DEBIAN), indirect=True, scope="session")


@pytest.fixture(scope="session")
def postgres_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresServer]:
    """A PostgreSQL of the wheel's newest version, or of the origin that a folder's conftest names."""
    origin = getattr(request, "param", WHEEL)
    programs = programs_of(origin)
    if programs is None:
        pytest.skip(f"no PostgreSQL of {origin} on this machine: nothing in {DEBIAN_PROGRAMS}/*/bin")
    with cluster(tmp_path_factory.mktemp("postgres"), programs) as server:
        yield server


@contextmanager
def cluster(folder: Path, programs: Path) -> Iterator[PostgresServer]:
    """Run a cluster that is new: it has no role but its owner's."""
    server = PostgresServer("127.0.0.1", free_port(), "owner", secrets.token_hex(8), programs)
    service = Postgres(
        folder / "cluster",
        port=server.port,
        user=server.user,
        password=server.password,
        programs=server.programs,
    )
    service.prepare(lambda _text: None)
    running = process.start(
        [*service.command(), *SURVIVES_PROCESSES_BUT_NOT_THE_MACHINE],
        log=folder / "postgres.log",
        env={**inherited_environment(), **service.environment()},
    )
    identity = process.ProcessId.of(running.pid)
    waiting = threading.Event()
    try:
        while not service.ready():
            assert running.poll() is None, (folder / "postgres.log").read_text()
            waiting.wait(0.05)
        yield server
    finally:
        process.stop(identity, ask=service.stop_signal, patience=service.patience)
        running.wait()


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a fresh, empty database."""
    with fresh_database(postgres_server) as name:
        yield name


@contextmanager
def fresh_database(postgres_server: PostgresServer, *, encoding: str = "UTF8") -> Iterator[str]:
    """Make an empty database and give its name; afterwards it is dropped."""
    name = f"test_{secrets.token_hex(6)}"
    connection = psycopg2.connect(postgres_server.dsn())
    connection.autocommit = True
    with connection.cursor() as cursor:
        create = sql.SQL("create database {} template template0 locale 'C' encoding {}")
        cursor.execute(create.format(sql.Identifier(name), sql.Literal(encoding)))
    yield name
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
    connection.close()
