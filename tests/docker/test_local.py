"""`local` as containers: documents flow, nothing is lost whatever ends, no part sees more than it must."""

from __future__ import annotations

import json
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import psycopg2
import pytest
from container_installation import ContainerInstallation
from superset_client import Client
from whole_installation import wait_for

from cht_sync.environments import SERVICES, Environment

SERVICE_NAMES = SERVICES[Environment.LOCAL]
ROOT_IS_WRITTEN = {"couchdb"}
"""Its image writes the administrator into its own configuration."""


def test_the_services_of_the_table_run_and_status_says_so(local: ContainerInstallation) -> None:
    local.wait_until_well()
    found = local.status()
    assert found["runtime"] == "docker"
    assert {one["name"]: one["state"] for one in found["services"]} == dict.fromkeys(SERVICE_NAMES, "running")
    assert found["problems"] == []
    assert all(one["rows"] > 0 and one["dead_letters"] == 0 for one in found["databases"])
    assert found["dbt"]["result"] == "success"


def test_every_service_has_a_health_check_and_passes_it(local: ContainerInstallation) -> None:
    wait_for(lambda: set(_healths(local).values()) == {"healthy"}, f"health: {_healths(local)}", local.logs)
    assert _healths(local).keys() == set(SERVICE_NAMES)


def _healths(local: ContainerInstallation) -> dict[str, str]:
    running = {
        name: one.attrs["State"] for name, one in local.containers().items() if one.status == "running"
    }
    return {name: state.get("Health", {}).get("Status", "none") for name, state in running.items()}


def test_a_document_reaches_postgresql_and_a_model(local: ContainerInstallation) -> None:
    local.couchdb("PUT", "medic/ada", json={"type": "person", "name": "Ada"})
    wait_for(lambda: local.sql("select 1 from dbt.person where name = 'Ada'") != [], "Ada", local.logs)


def test_verify_finds_postgresql_equal_to_couchdb(local: ContainerInstallation) -> None:
    found = json.loads(local.run("verify", "--json").stdout)
    assert found["same"]


def test_the_doctor_finds_nothing_wrong(local: ContainerInstallation) -> None:
    local.wait_until_well()
    done = local.run("doctor", "--json", check=False)
    found = json.loads(done.stdout)
    assert [one for one in found if one["result"] == "failed"] == []
    assert done.returncode == 0
    well = {one["check"] for one in found if one["result"] == "ok"}
    assert {
        "couchdb-changes",
        "roles",
        "role-logins",
        "token",
        "engine",
        "positions",
        "superset",
        "docker",
    } <= well


def test_superset_answers_with_the_dashboards(local: ContainerInstallation) -> None:
    client = Client(local.superset(), "admin", local.settings.superset_password)
    found = client.ask("GET", "dashboard/").json()["result"]
    assert {one["dashboard_title"] for one in found} == {"Programme overview", "Data quality", "Sync health"}


def test_the_tools_of_the_final_screen_open_the_databases(local: ContainerInstallation) -> None:
    pgpass = local.home / ".cht-sync" / "docker" / "local" / "pgpass"
    assert pgpass.stat().st_mode & 0o077 == 0
    settings = local.settings
    connection = psycopg2.connect(
        host="127.0.0.1", port=settings.postgres_port, dbname="data", user="postgres", passfile=str(pgpass)
    )
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("select count(*) > 0 from dbt.contact")
        assert cursor.fetchone() == (True,)


def test_no_secret_is_in_what_docker_shows(local: ContainerInstallation) -> None:
    secrets = json.loads((local.home / ".cht-sync" / "docker" / "local" / "secrets.json").read_text())
    shown = json.dumps([one.attrs for one in local.containers().values()])
    images = json.dumps([one.image.history() for one in local.containers().values()])
    assert [name for name, value in secrets.items() if value in shown + images + local.logs()] == []


def test_each_service_is_handed_its_own_secrets_only(local: ContainerInstallation) -> None:
    secrets = json.loads((local.home / ".cht-sync" / "docker" / "local" / "secrets.json").read_text())
    wanted = {
        "postgres": {"POSTGRES_PASSWORD"},
        "couchdb": {"COUCHDB_PASSWORD"},
        "data-generator": {"COUCHDB_PASSWORD"},
        "logstash": {"COUCHDB_PASSWORD", "PGRST_JWT_SECRET", "REDACT_HASH_SECRET"},
        "postgrest": {"PGRST_DB_PASSWORD", "PGRST_JWT_SECRET"},
        "dbt": {"DBT_POSTGRES_PASSWORD"},
        "superset": {"SUPERSET_PASSWORD", "SUPERSET_SECRET_KEY", "SUPERSET_DB_PASSWORD"},
    }
    for service in SERVICE_NAMES:
        _code, said = local.inside(service, "sh", "-c", "cat /run/cht-sync/*")
        assert {name for name, value in secrets.items() if value in said} == wanted[service], service


@pytest.mark.parametrize("service", SERVICE_NAMES)
def test_a_container_may_do_little(local: ContainerInstallation, service: str) -> None:
    about = local.container(service).attrs
    host = about["HostConfig"]
    assert host["ReadonlyRootfs"] is (service not in ROOT_IS_WRITTEN)
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"]["max-size"]
    assert local.inside(service, "id", "-u")[1].strip() != "0"


def test_only_what_a_person_needs_is_published_and_on_loopback(local: ContainerInstallation) -> None:
    published = {
        service: [place["HostIp"] for places in one.ports.values() for place in places or ()]
        for service, one in local.containers().items()
    }
    assert {service: hosts for service, hosts in published.items() if hosts} == {
        "postgres": ["127.0.0.1"],
        "couchdb": ["127.0.0.1"],
        "superset": ["127.0.0.1"],
    }


@pytest.mark.parametrize(
    ("service", "other", "port", "reached"),
    [
        ("superset", "couchdb", 5984, False),
        ("couchdb", "postgres", 5432, False),
        ("logstash", "postgres", 5432, False),
        ("data-generator", "postgres", 5432, False),
        ("dbt", "couchdb", 5984, False),
        ("superset", "postgrest", 3000, True),
        ("logstash", "couchdb", 5984, True),
        ("logstash", "postgrest", 3000, True),
    ],
)
def test_networks_are_split(
    local: ContainerInstallation, service: str, other: str, port: int, reached: bool
) -> None:
    networks = local.container(other).attrs["NetworkSettings"]["Networks"]
    addresses = [other, *(one["IPAddress"] for one in networks.values())]
    codes = {
        address: local.inside(service, "timeout", "3", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}")[0]
        for address in addresses
    }
    assert any(code == 0 for code in codes.values()) is reached, codes


@pytest.fixture(scope="module")
def crashed_superset(local: ContainerInstallation) -> int:
    """Superset takes longest to come back, so it crashes first; the number of its restarts before."""
    before = local.restarts("superset")
    local.kill("superset")
    return before


@pytest.mark.parametrize("service", [name for name in SERVICE_NAMES if name != "superset"])
def test_a_service_that_crashes_while_documents_flow_heals_and_nothing_is_lost(
    local: ContainerInstallation, crashed_superset: int, service: str
) -> None:
    before = local.restarts(service)
    local.kill(service)
    wait_for(lambda: local.restarts(service) > before, f"{service} to be started again", local.logs)
    wait_for(lambda: local.is_well(service), f"{service} to be well", local.logs)
    wait_for(lambda: _catches_up(local), "the pipelines to catch up", local.logs)
    assert json.loads(local.run("verify", "--json").stdout)["same"]


def test_superset_that_crashes_heals(local: ContainerInstallation, crashed_superset: int) -> None:
    wait_for(lambda: local.restarts("superset") > crashed_superset, "Superset's restart", local.logs)
    local.wait_until_well()
    assert local.superset_answers()


def test_services_that_were_killed_by_hand_come_back_with_up(local: ContainerInstallation) -> None:
    for service in ("logstash", "postgres"):
        local.container(service).kill()
    stopped = local.run("status", check=False)
    assert stopped.returncode == 1
    assert stopped.stdout.count("stopped") == 2
    local.up("local")
    local.wait_until_well()
    assert json.loads(local.run("verify", "--json").stdout)["same"]


@pytest.mark.parametrize(("service", "network"), [("postgrest", "ingest"), ("couchdb", "source")])
def test_a_network_that_is_cut_for_a_while_costs_nothing(
    local: ContainerInstallation, engine: docker.DockerClient, service: str, network: str
) -> None:
    (wire,) = engine.networks.list(names=[f"{local.name}-local_{network}"])
    container = local.container(service)
    wire.disconnect(container)
    if network == "ingest":
        # Meanwhile documents go on coming in.
        local.couchdb("PUT", f"medic/while-{network}-was-cut", json={"type": "person", "name": "Grace"})
        assert local.sql(f"select 1 from v1.medic where _id = 'while-{network}-was-cut'") == []
    wire.connect(container, aliases=[service])
    wait_for(lambda: _catches_up(local), "the pipelines to catch up", local.logs)
    local.wait_until_well()
    assert json.loads(local.run("verify", "--json").stdout)["same"]


def test_a_command_that_is_ended_takes_its_container_with_it(
    local: ContainerInstallation, engine: docker.DockerClient
) -> None:
    def containers() -> list[Any]:
        return engine.containers.list(filters={"name": f"{local.name}-local-cht-sync-"})

    command = local.start("generate", "--rate", "1")
    wait_for(lambda: containers() != [], "its container", local.logs)
    command.send_signal(signal.SIGTERM)
    assert command.wait(60) == 128 + signal.SIGTERM
    assert containers() == []


def test_what_commands_write_is_on_this_machine(local: ContainerInstallation, tmp_path: Path) -> None:
    local.run("forms", "write", "delivery", "--output", str(tmp_path / "forms"))
    assert {file.name for file in (tmp_path / "forms").iterdir()} == {"delivery.sql", "delivery.yml"}
    page = Path(local.run("dbt", "docs").stdout.splitlines()[-1])
    assert "<html" in page.read_text()[:1000].lower()


def test_logs_show_every_service(local: ContainerInstallation) -> None:
    said = local.run("logs", "--lines", "3").stdout
    assert all(f"{service}-1" in said for service in SERVICE_NAMES if service != "data-generator")
    refused = local.run("logs", "supervisor", check=False)
    assert refused.returncode == 1
    assert "supervisor is of local processes" in refused.stderr


def test_down_and_up_keep_the_data_and_down_with_volumes_does_not(
    local: ContainerInstallation, engine: docker.DockerClient
) -> None:
    local.couchdb("PUT", "medic/kept", json={"type": "person", "name": "Kept"})
    wait_for(lambda: local.sql("select 1 from v1.medic where _id = 'kept'") != [], "the row", local.logs)
    local.run("down")
    assert local.containers() == {}
    local.up("local", "--without", "data-generator", "--without", "superset")
    assert local.sql("select 1 from v1.medic where _id = 'kept'") == [(1,)]
    assert "data-generator" not in {one["name"] for one in local.status()["services"]}
    asked = local.run("down", "--volumes", check=False)
    assert asked.returncode == 1
    assert "Delete the data and the secrets of local, of containers, for good?" in asked.stderr
    local.run("down")
    project = {"com.docker.compose.project": f"{local.name}-local"}
    # As PIPELINE_ENGINE=logstash would have left it.
    engine.volumes.create(f"{local.name}-local_logstash-logstash", labels=project)
    local.run("down", "--volumes", "--yes")
    left = engine.volumes.list(filters={"label": f"com.docker.compose.project={local.name}-local"})
    assert left == []


def _catches_up(local: ContainerInstallation) -> bool:
    return all(one["pending"] == 0 for one in local.status()["databases"])
