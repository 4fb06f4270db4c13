"""Certificates that are made here (good, expired, for another host), and an ingest server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ingest.ingest_support import Client, Installation, installed, running, wait_until
from tls_servers import Certificates, make_certificates


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def database(postgres_server: Any) -> Iterator[Installation]:
    """A database with tables and roles of its own."""
    with installed(postgres_server) as one:
        one.execute(f"ALTER ROLE {one.ingest_role} RESET lock_timeout")
        yield one


@pytest.fixture(scope="module")
def ingest(database: Installation) -> Iterator[Client]:
    """The ingest server on it."""
    with running(database.config) as port:
        client = database.client(port)
        wait_until(lambda: client.get("/").status == 200)
        yield client
