"""gamma and prod, with another installation's CouchDB and PostgreSQL in the place of the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_installation import Installation, wait_for

from cht_sync.runtime.credentials import kept_secrets


@pytest.fixture
def elsewhere(installation: Installation) -> Installation:
    """A CouchDB and a PostgreSQL that belong to somebody else."""
    others = ("postgrest", "logstash", "dbt", "data-generator", "superset")
    installation.run("up", "--detach", *(word for name in others for word in ("--without", name)))
    return installation


def test_prod_writes_to_a_postgres_and_reads_a_couchdb_of_others(
    elsewhere: Installation, tmp_path: Path
) -> None:
    there = elsewhere.settings
    secrets = kept_secrets(tmp_path / "made-up")
    prod = Installation(
        tmp_path / "prod",
        {
            "COUCHDB_HOST": "localhost",
            "COUCHDB_PORT": str(there.couchdb_port),
            "COUCHDB_USER": there.couchdb_user,
            "COUCHDB_PASSWORD": there.couchdb_password,
            "COUCHDB_DBS": "medic medic-sentinel",
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(there.postgres_port),
            "POSTGRES_PASSWORD": there.postgres_password,
            "POSTGRES_DB": "warehouse",
            "PGRST_JWT_SECRET": secrets["PGRST_JWT_SECRET"],
            "PGRST_DB_PASSWORD": secrets["PGRST_DB_PASSWORD"],
            "DBT_POSTGRES_PASSWORD": secrets["DBT_POSTGRES_PASSWORD"],
            "LOAD_FROM_DOCUMENTS": "30",
        },
    )
    prod.home.mkdir()
    for number in range(30):
        elsewhere.couchdb("PUT", f"medic/place-{number}", json={"type": "clinic", "name": f"Place {number}"})
    try:
        screen = prod.run("up", "--env", "prod", "--detach", "--without", "superset").stdout
        assert "cht-sync prod is running" in screen
        assert {one["name"] for one in prod.status()["services"]} == {"postgrest", "logstash", "dbt"}
        loads = "select database, ended_at is not null from v1.cht_sync_loads"
        wait_for(lambda: prod.sql(loads) == [("medic", True)], "the end of the load", prod.logs)
        assert "30 documents loaded" in prod.run("logs", "load").stdout
        wait_for(lambda: "load" not in {one.name for one in prod.state.services}, "its process's end")
        elsewhere.couchdb("PUT", "medic/ada", json={"type": "person", "name": "Ada"})
        prod.wait_until_same("medic")
        wait_for(lambda: prod.sql("select name from dbt.person") == [("Ada",)], "Ada in dbt", prod.logs)
        assert prod.status()["databases"][0]["documents"] == 31
    finally:
        prod.run("down")
    assert prod.processes() == []


def test_what_prod_lacks_is_said_line_by_line_and_nothing_starts(tmp_path: Path) -> None:
    prod = Installation(tmp_path)
    refused = prod.run("up", "--env", "prod", "--detach", check=False)
    assert refused.returncode == 2
    lines = refused.stderr.splitlines()
    for name in ("COUCHDB_HOST", "COUCHDB_PASSWORD", "COUCHDB_DBS", "POSTGRES_HOST", "PGRST_JWT_SECRET"):
        assert any(
            line.startswith(f"error: {name} is required for prod; for example {name}=") for line in lines
        )
    assert not (tmp_path / ".cht-sync").exists()


def test_a_taken_default_port_gives_way_and_a_chosen_one_is_an_error(
    elsewhere: Installation, tmp_path: Path
) -> None:
    other = Installation(tmp_path, {"COUCHDB_PORT": str(elsewhere.settings.couchdb_port)})
    refused = other.run("up", "--detach", check=False)
    assert refused.returncode == 1
    assert f"port {elsewhere.settings.couchdb_port} is taken" in refused.stderr
    assert other.processes() == []
