"""prod, where CouchDB, PostgreSQL and PostgREST show certificates of an authority of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg2
import pytest
from couchdb_fixture import CouchDBServer
from free_ports import free_port
from postgres_fixture import PostgresServer
from tls_servers import Certificates, make_certificates, tls_postgres, tls_proxy
from waiting import eventually
from whole_installation import Installation, wait_for

from cht_sync.runtime.credentials import kept_secrets

OURS = ("PGRST_JWT_SECRET", "PGRST_DB_PASSWORD", "DBT_POSTGRES_PASSWORD")
UP = ("up", "--env", "prod", "--runtime", "embedded", "--detach", "--without", "superset")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


@pytest.fixture
def prod(
    tmp_path: Path, certificates: Certificates, couchdb_server: CouchDBServer, couchdb_database: str
) -> Iterator[Installation]:
    """Beside servers to which there is no other way than TLS."""
    made = kept_secrets(tmp_path / "made-up")
    postgrest = free_port()
    home = tmp_path / "home"
    home.mkdir()
    (home / "authority.pem").write_bytes(certificates.authority.read_bytes())
    with ExitStack() as stack:
        postgres = stack.enter_context(tls_postgres(tmp_path, certificates.good))
        access = tmp_path / "cluster" / "data" / "pg_hba.conf"
        access.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        couchdb = stack.enter_context(tls_proxy(certificates.good, couchdb_server.port))
        endpoint = stack.enter_context(tls_proxy(certificates.good, postgrest))
        installation = Installation(
            home,
            {
                "COUCHDB_HOST": "127.0.0.1",
                "COUCHDB_PORT": str(couchdb),
                "COUCHDB_SECURE": "true",
                "COUCHDB_CA_FILE": "authority.pem",
                "COUCHDB_USER": couchdb_server.user,
                "COUCHDB_PASSWORD": couchdb_server.password,
                "COUCHDB_DBS": couchdb_database,
                "POSTGRES_HOST": "127.0.0.1",
                "POSTGRES_PORT": str(postgres.port),
                "POSTGRES_SSLMODE": "verify-full",
                "POSTGRES_SSLROOTCERT": "authority.pem",
                "POSTGRES_USER": postgres.user,
                "POSTGRES_PASSWORD": postgres.password,
                "POSTGRES_DB": "warehouse",
                "POSTGREST_PORT": str(postgrest),
                "HTTP_ENDPOINT": f"127.0.0.1:{endpoint}",
                "HTTP_ENDPOINT_SECURE": "true",
                "HTTP_ENDPOINT_CA_FILE": "authority.pem",
                "DATAEMON_INTERVAL": "1",
                **{name: made[name] for name in OURS},
            },
        )
        yield installation
        installation.run("down", check=False)
        assert installation.processes() == []


def _reload(postgres: PostgresServer) -> None:
    with closing(psycopg2.connect(postgres.dsn())) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_reload_conf()")
    without_tls = {"dsn": postgres.dsn(), "sslmode": "disable"}
    eventually(lambda: _refuses(without_tls))


def _refuses(address: dict[str, str]) -> bool:
    try:
        psycopg2.connect(**address).close()
    except psycopg2.OperationalError:
        return True
    return False


def test_every_part_trusts_the_authority_that_was_named(
    prod: Installation, couchdb_server: CouchDBServer, couchdb_database: str
) -> None:
    client = couchdb_server.client()
    client.write(couchdb_database, [{"_id": "ada", "type": "person", "name": "Ada"}])
    client.close()
    prod.run(*UP)
    status = json.loads(prod.run("status", "--json", check=False).stdout)
    assert status["databases"][0]["documents"] == 1
    assert json.loads(prod.run("verify", "--json").stdout)["same"]
    wait_for(lambda: (prod.status()["dbt"] or {}).get("result") == "success", "dbt", prod.logs)


def test_another_authority_is_told_by_every_part_and_nothing_is_read(
    prod: Installation, certificates: Certificates
) -> None:
    (prod.home / "stranger.pem").write_bytes(certificates.stranger.read_bytes())
    prod.variables = {**prod.variables, "POSTGRES_SSLROOTCERT": "stranger.pem"}
    refused = prod.run(*UP, check=False)
    assert refused.returncode == 2
    assert "POSTGRES_SSLROOTCERT" in refused.stderr
    trusted = {"POSTGRES_SSLROOTCERT": "authority.pem", "COUCHDB_CA_FILE": "stranger.pem"}
    prod.variables = {**prod.variables, **trusted}
    assert "name the PEM file of the authority that has signed it: COUCHDB_CA_FILE" in _up(prod)
    assert "COUCHDB_CA_FILE" in str(prod.status()["problems"])


def _up(prod: Installation) -> str:
    """What it says, in one line."""
    return " ".join(prod.run(*UP, "--without", "dbt").stdout.split())
