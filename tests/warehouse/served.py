"""A database made by the script, with the embedded ingest server before it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests
from postgres_fixture import PostgresServer

from cht_sync.ingest.config import IngestConfig
from cht_sync.ingest.server import serve
from cht_sync.pipeline.postgrest.connection import PostgrestConnection, Timeouts
from cht_sync.pipeline.postgrest.writer import Writer
from cht_sync.tokens import TokenSource
from warehouse.installation import Installation

SECRET = "a-secret-of-tests-that-is-long-enough-0123456789"
PATIENCE = 20.0
COLUMNS = "_id,_rev,_deleted,doc,doc_as_upsert,%22@version%22"


class ObservedStop(threading.Event):
    """A stop that tells of each pause, and makes it short."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses = threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.release()
        return super().wait(0.02)

    def await_pause(self) -> None:
        assert self.pauses.acquire(timeout=PATIENCE), "nobody paused"


@dataclass(frozen=True)
class Served:
    """Where the server is, and what is behind it."""

    installation: Installation
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def table_url(self) -> str:
        return f"{self.url}/medic?columns={COLUMNS}"

    @property
    def role(self) -> str:
        return f"{self.installation.name}_ingest"

    def writer(self, tokens: TokenSource | None = None) -> Writer:
        connection = PostgrestConnection(
            self.url, tokens or TokenSource(SECRET, self.role), Timeouts(5, PATIENCE)
        )
        return Writer(connection, self.url, self.table_url)

    def rows(self) -> dict[str, str]:
        return dict(self.installation.query("select _id, _rev from v1.medic"))

    def letters(self) -> list[tuple[str, str, str, str]]:
        return self.installation.query("select doc_id, rev, code, document from v1.dead_letters order by id")


@contextmanager
def listening(installation: Installation, *, port: int = 0, max_body: int | None = None) -> Iterator[Served]:
    """Run the ingest server in a thread; afterwards it has stopped in order."""
    name, server = installation.name, installation.server
    config = IngestConfig(
        db_uri=f"postgresql://{name}_authenticator:{installation.passwords['authenticator']}"
        f"@{server.host}:{server.port}/{name}",
        schemas=("v1",),
        anon_role=f"{name}_anon",
        jwt_secret=SECRET,
        port=port,
        max_body=max_body or 1 << 28,
    )
    stop = threading.Event()
    ports: queue.Queue[int] = queue.Queue()
    thread = threading.Thread(target=serve, args=(config, stop, ports.put), daemon=True)
    thread.start()
    try:
        port = ports.get(timeout=PATIENCE)
        _await_schema(port)
        yield Served(installation, port)
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def _await_schema(port: int) -> None:
    """Wait until the server knows the schema; before that it tells a writer to come again (PGRST002)."""
    pause = threading.Event()
    for _look in range(int(PATIENCE / 0.02)):
        if requests.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE).status_code != 503:
            return
        pause.wait(0.02)
    raise AssertionError("the schema is not known")


@contextmanager
def served(server: PostgresServer, database: str) -> Iterator[Served]:
    """The first layout for medic, served."""
    installation = Installation(server, database)
    installation.init("medic medic-sentinel")
    try:
        with listening(installation) as one:
            yield one
    finally:
        installation.drop_roles()
