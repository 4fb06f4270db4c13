"""prod beside servers that are not as they should be, from the command line."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from couchdb_fixture import CouchDBServer
from free_ports import free_port
from postgres_fixture import PostgresServer
from warehouse.installation import Installation as Warehouse
from whole_installation import Installation

from cht_sync.runtime.credentials import kept_secrets

OURS = ("PGRST_JWT_SECRET", "PGRST_DB_PASSWORD", "DBT_POSTGRES_PASSWORD")
UP = ("up", "--env", "prod", "--detach", "--without", "superset", "--without", "dbt")


@pytest.fixture
def prod(
    tmp_path: Path,
    postgres_server: PostgresServer,
    database: str,
    couchdb_server: CouchDBServer,
    couchdb_database: str,
) -> Iterator[Installation]:
    """Everything is right; what a test makes wrong it changes in `variables`."""
    made = kept_secrets(tmp_path / "made-up")
    variables = {
        "COUCHDB_HOST": couchdb_server.host,
        "COUCHDB_PORT": str(couchdb_server.port),
        "COUCHDB_USER": couchdb_server.user,
        "COUCHDB_PASSWORD": couchdb_server.password,
        "COUCHDB_DBS": couchdb_database,
        "POSTGRES_HOST": postgres_server.host,
        "POSTGRES_PORT": str(postgres_server.port),
        "POSTGRES_USER": postgres_server.user,
        "POSTGRES_PASSWORD": postgres_server.password,
        "POSTGRES_DB": database,
        **{name: made[name] for name in OURS},
    }
    (tmp_path / "home").mkdir()
    installation = Installation(tmp_path / "home", variables)
    yield installation
    installation.run("down", check=False)
    assert installation.processes() == []
    Warehouse(postgres_server, database).drop_roles()


def test_all_that_is_wrong_is_said_at_once_and_nothing_starts(prod: Installation) -> None:
    wrong = {"POSTGRES_PORT": str(free_port()), "COUCHDB_PASSWORD": secrets.token_hex(16)}
    prod.variables = {**prod.variables, **wrong}
    refused = prod.run(*UP, check=False)
    assert refused.returncode == 2
    first, second, hint = refused.stderr.splitlines()
    assert first.startswith(f"error: PostgreSQL at 127.0.0.1:{wrong['POSTGRES_PORT']} cannot be reached")
    assert second.startswith("error: CouchDB at ")
    assert hint == "Nothing was started."
    assert wrong["COUCHDB_PASSWORD"] not in refused.stderr
    # But for the memory that keeps the account from being locked.
    files = [path.name for path in (prod.home / ".cht-sync").rglob("*") if path.is_file()]
    assert files == ["couchdb-login-refused.json"]


def test_it_comes_up_while_couchdb_is_away_and_is_not_asked_again_while_it_runs(prod: Installation) -> None:
    prod.variables = {**prod.variables, "COUCHDB_PORT": str(free_port())}
    started = prod.run(*UP)
    assert "does not answer (ConnectionError); the pipelines wait for it" in started.stdout
    assert "cht-sync prod is running" in started.stdout
    prod.variables = {**prod.variables, "POSTGRES_PORT": str(free_port())}
    again = prod.run(*UP)
    assert "prod was started already" in again.stdout
    assert "the pipelines wait for it" not in again.stdout
