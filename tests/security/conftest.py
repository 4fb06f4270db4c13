"""Certificates that are made here (good, expired, for another host), and an ingest server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from ingest.ingest_support import Client, Installation, installed, running, wait_until


class Certificate(NamedTuple):
    """Two PEM files of a server."""

    chain: Path
    key: Path


class Certificates(NamedTuple):
    """`authority` has signed all of them, `stranger` none."""

    authority: Path
    stranger: Path
    good: Certificate
    expired: Certificate
    other_host: Certificate


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certificates]:
    folder = tmp_path_factory.mktemp("certificates")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    stranger.cert_pem.write_to_path(folder / "stranger.pem")

    def issue(name: str, *hosts: str, not_after: datetime | None = None) -> Certificate:
        issued = authority.issue_cert(*hosts, not_after=not_after)
        files = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
        for blob in issued.cert_chain_pems:
            blob.write_to_path(files.chain, append=True)
        issued.private_key_pem.write_to_path(files.key)
        files.key.chmod(0o600)
        return files

    yield Certificates(
        folder / "ca.pem",
        folder / "stranger.pem",
        issue("good", "127.0.0.1", "localhost"),
        issue("expired", "127.0.0.1", "localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC)),
        issue("other_host", "couchdb.example.org"),
    )


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
