"""What the tests of the engine share."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_couchdb import FakeCouchdb, fake_couchdb
from postgres_fixture import PostgresServer, fresh_database
from warehouse.served import ObservedStop, Served, served


@pytest.fixture
def warehouse(postgres_server: PostgresServer, database: str) -> Iterator[Served]:
    """An ingest server before a database that the test may change as it likes."""
    with served(postgres_server, database) as one:
        yield one


@pytest.fixture(scope="module")
def one_warehouse(postgres_server: PostgresServer) -> Iterator[Served]:
    """One for all tests of a module; see `emptied_warehouse`."""
    with fresh_database(postgres_server) as name, served(postgres_server, name) as one:
        yield one


@pytest.fixture
def emptied_warehouse(one_warehouse: Served) -> Served:
    """That of the module, without what the tests before have left: cheaper than `warehouse`."""
    one_warehouse.installation.query("truncate v1.medic, v1.couchdb_progress, v1.dead_letters")
    return one_warehouse


@pytest.fixture
def couchdb() -> Iterator[FakeCouchdb]:
    """A server with an empty database `medic`, which can be replaced."""
    with fake_couchdb() as server:
        yield server


@pytest.fixture
def stop() -> ObservedStop:
    """A stop for writers, whose pauses are seen and short."""
    return ObservedStop()


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The zone of the machine that made the recordings."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and certificates by it for this machine and for a client."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    for name in ("server", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *by)
    return folder
