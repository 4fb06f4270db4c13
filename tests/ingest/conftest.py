"""The ingest server on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ingest_support import Client, Installation, install, running, wait_until


@pytest.fixture
def installation(postgres_server: Any, database: str) -> Iterator[Installation]:
    installed = install(postgres_server.dsn(database), database, postgres_server.host, postgres_server.port)
    yield installed
    installed.execute(f"DROP OWNED BY {installed.ingest_role}")
    for role in ("authenticator", "anon", "ingest"):
        installed.execute(f"DROP ROLE {database}_{role}")


@pytest.fixture
def server(installation: Installation) -> Iterator[Client]:
    """A server on the installation that has read the schema, and a client with a token for it."""
    with running(installation.config) as port:
        client = installation.client(port)
        wait_until(lambda: client.get("/").status == 200)
        yield client
