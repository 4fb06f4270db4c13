"""A proxy in the environment is for the internet: our own servers are asked directly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from couchdb_fixture import CouchDBServer
from postgres_fixture import PostgresServer, fresh_database
from warehouse.served import SECRET, served

from cht_sync.environments import Environment
from cht_sync.runtime.couchdb import CouchdbServer
from cht_sync.runtime.couchdb_counts import CouchdbCounts
from cht_sync.runtime.postgrest import Postgrest
from cht_sync.settings import Settings, load


def set_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers nobody."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings(tmp_path: Path, couchdb_server: CouchDBServer) -> Settings:
    given = {
        "COUCHDB_HOST": couchdb_server.host,
        "COUCHDB_PORT": str(couchdb_server.port),
        "COUCHDB_USER": couchdb_server.user,
        "COUCHDB_PASSWORD": couchdb_server.password,
        "PGRST_JWT_SECRET": SECRET,
    }
    return load(Environment.LOCAL, home=tmp_path, environ=given, read_file=False)


def test_status_counts_the_documents(
    settings: Settings, couchdb_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        set_a_proxy(patch)
        problems: list[str] = []
        assert CouchdbCounts(settings, problems).ask(couchdb_database, "0") == (0, 0)
        assert problems == []


def test_the_couchdb_of_local_becomes_ready(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    set_a_proxy(monkeypatch)
    assert CouchdbServer(settings).ready()


def test_postgrest_becomes_ready(
    settings: Settings, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh_database(postgres_server) as name, served(postgres_server, name) as one:
        set_a_proxy(monkeypatch)
        assert Postgrest(replace(settings, postgres_db=name, postgrest_port=one.port)).ready()
