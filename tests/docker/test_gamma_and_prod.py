"""gamma and prod as containers, beside a CouchDB and a PostgreSQL that are somebody else's."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from pathlib import Path

import docker
import pytest
from container_installation import ContainerInstallation
from outside import DOCUMENTS, Outside
from whole_installation import wait_for

from cht_sync.environments import SERVICES, Environment
from cht_sync.settings import CHECKOUT, declared

OUR_SECRETS = (
    "PGRST_JWT_SECRET",
    "PGRST_DB_PASSWORD",
    "DBT_POSTGRES_PASSWORD",
    "SUPERSET_PASSWORD",
    "SUPERSET_SECRET_KEY",
    "SUPERSET_DB_PASSWORD",
)


def made_up() -> dict[str, str]:
    return {name: secrets.token_urlsafe(32) for name in OUR_SECRETS}


def compose(home: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `docker compose` as somebody does who has our file and an `.env`, and not our command line."""
    names = {name for name, _variable in declared()}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    place = ["--project-directory", str(CHECKOUT), "--file", str(CHECKOUT / "docker-compose.yml")]
    return subprocess.run(
        ["docker", "compose", *place, "--env-file", str(home / ".env"), *words],
        env={**kept, **variables, "CHT_SYNC_SETTINGS": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_prod_goes_on_in_somebody_elses_postgresql_from_where_couch2pg_was(
    outside: Outside, tmp_path: Path
) -> None:
    prod = ContainerInstallation(
        tmp_path, "cht-sync-test-prod", {**outside.couchdb, **outside.postgres, **made_up()}
    )
    outside.was_read_by_couch2pg()
    outside.put("written-since")
    with prod.taken_down():
        prod.run("init-db", "--env", "prod")
        assert f"medic: {DOCUMENTS} rows moved" in prod.run("migrate", "run", "--env", "prod").stdout
        ((moved,),) = outside.sql("select last_stamp from v1.cht_sync_state")
        screen = prod.up("prod")
        assert {one["name"] for one in prod.status()["services"]} == {*SERVICES[Environment.PROD]}
        assert "postgres  " not in screen.split("is running")[1]
        wait_for(lambda: prod.status()["databases"][0]["pending"] == 0, "what is left", prod.logs)
        assert json.loads(prod.run("verify", "--json").stdout)["same"]
        brought = f"select _id from v1.medic where saved_timestamp > '{moved}'"
        assert outside.sql(brought) == [("written-since",)]
        assert "couch2pg in warehouse is up to date" in prod.run("migrate", "views").stdout
        check = json.loads(prod.run("migrate", "check", "--json").stdout)
        assert (check["same"], check["tables"][0]["counts"]["same"]) == (True, DOCUMENTS)
        assert {view["only_old"] for view in check["views"]} == {0}
        outside.put("somebody-new")
        wait_for(lambda: _is_a_person(outside, "somebody-new"), "the model", prod.logs)
        assert prod.superset_answers()
        owners = outside.sql("select distinct schemaname, tableowner from pg_tables order by 1")
        assert ("superset_metadata", "warehouse_superset_metadata") in owners
        prod.run("down")
        outside.put("written-while-down")
        prod.up("prod", "--without", "superset")
        wait_for(lambda: _is_a_person(outside, "written-while-down"), "the model", prod.logs)


def test_gamma_has_a_postgresql_of_its_own_and_starts_without_our_command_line(
    outside: Outside, tmp_path: Path
) -> None:
    own = {"POSTGRES_PASSWORD": secrets.token_urlsafe(32), "POSTGRES_PORT": "0", "SUPERSET_PORT": "0"}
    project = "cht-sync-test-gamma"
    gamma = ContainerInstallation(tmp_path, project, {**outside.couchdb, **own, **made_up()})
    with gamma.taken_down():
        # Ports that nobody else has: what .env of a person does not say.
        (tmp_path / ".env").write_text(
            "".join(f"{name}={value}\n" for name, value in gamma.given.items() if not name.endswith("_PORT"))
            + f"COUCHDB_PORT={outside.couchdb_port}\n"
        )
        free = {"POSTGRES_PORT": "0", "SUPERSET_PORT": "0"}
        started = compose(tmp_path, "--profile", "gamma", "up", "--detach", "--scale", "superset=0", **free)
        assert started.returncode == 0, started.stderr + gamma.logs()
        containers = gamma.containers()
        services = {*SERVICES[Environment.GAMMA]} - {"superset"}
        assert set(containers) == services | {"settings-gamma", "render-config", "init-db", "load"}
        wait_for(lambda: _rows(gamma) >= DOCUMENTS, "the first load", gamma.logs)
        verified = compose(tmp_path, "run", "--rm", "--no-TTY", "cht-sync", "verify", "--json", **free)
        assert json.loads(verified.stdout)["same"], verified.stderr


@pytest.mark.parametrize("without_our_command_line", [False, True])
def test_prod_refuses_all_that_is_wrong_at_once_and_starts_nothing(
    images: None, engine: docker.DockerClient, tmp_path: Path, without_our_command_line: bool
) -> None:
    wrong = {
        **made_up(),
        "COUCHDB_HOST": "couchdb.example.org",
        "COUCHDB_USER": "reader",
        "COUCHDB_PASSWORD": "password",
        "COUCHDB_DBS": "medic",
        "POSTGRES_HOST": "postgres.example.org",
        "POSTGRES_PASSWORD": "",
        "SUPERSET_SECRET_KEY": "CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET",
    }
    project = "cht-sync-test-refused"
    prod = ContainerInstallation(tmp_path, project, wrong)
    with prod.taken_down():
        if without_our_command_line:
            done = compose(tmp_path, "--profile", "prod", "up", "--detach")
            said, code = prod.container("settings-prod").logs().decode(), done.returncode
            running = [one for one in prod.containers().values() if one.status == "running"]
        else:
            done = prod.run("up", "--env", "prod", "--runtime", "docker", check=False)
            said, code = done.stderr, done.returncode
            assert code == 2
            running = list(prod.containers().values())
    assert code != 0
    for name in ("COUCHDB_PASSWORD", "COUCHDB_SECURE", "POSTGRES_PASSWORD", "SUPERSET_SECRET_KEY"):
        assert name in said, said
    assert running == []


def _is_a_person(outside: Outside, document_id: str) -> bool:
    there = outside.sql("select to_regclass('dbt.person') is not null")[0][0]
    return there and outside.sql(f"select 1 from dbt.person where uuid = '{document_id}'") != []


def _rows(gamma: ContainerInstallation) -> int:
    query = "select count(*) from v1.medic"
    code, said = gamma.inside("postgres", "psql", "-U", "postgres", "-d", "data", "-tAc", query)
    return int(said) if code == 0 else 0
