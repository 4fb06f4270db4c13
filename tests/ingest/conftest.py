"""The ingest server on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ingest_support import Client, Installation, installed, running, wait_until


@pytest.fixture
def installation(postgres_server: Any) -> Iterator[Installation]:
    with installed(postgres_server) as installation:
        yield installation


@pytest.fixture
def server(installation: Installation) -> Iterator[Client]:
    """A server on the installation that has read the schema, and a client with a token for it."""
    with running(installation.config) as port:
        client = installation.client(port)
        wait_until(lambda: client.get("/").status == 200)
        yield client
