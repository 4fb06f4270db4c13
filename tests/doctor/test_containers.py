"""Where the environment is containers, servers are asked from inside their network, the machine from here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from settings.test_settings import COMPLETE

from cht_sync.cli import doctor as command_of_doctor
from cht_sync.cli import main
from cht_sync.environments import SERVICES, Environment
from cht_sync.errors import ChtSyncError
from cht_sync.runtime.containers import engine as engines
from cht_sync.runtime.containers import recorded, running
from cht_sync.runtime.containers.compose import Compose
from cht_sync.runtime.doctor import docker
from cht_sync.runtime.state import EnvironmentState, ServiceState
from cht_sync.settings import STATE_FOLDER, declared
from doctor.patient import Patient

PROD = SERVICES[Environment.PROD]
FOUND = {
    "check": "token",
    "group": "PostgREST",
    "result": "failed",
    "message": "refused",
    "remedy": "PGRST_JWT_SECRET",
}


class FakeEngine:
    """An engine with room, whose containers a test says."""

    def free_space(self) -> int:
        return 10**12


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """An environment of containers of which superset was stopped, and the commands that are run inside."""
    recorded.write(
        tmp_path / STATE_FOLDER,
        recorded.Recorded(Environment.PROD, "test-prod", [], {"superset": 8080}, [], COMPLETE),
    )
    commands: list[Sequence[str]] = []

    def connected() -> AbstractContextManager[Any]:
        return nullcontext(FakeEngine())

    def state(_installation: object, _engine: object) -> EnvironmentState:
        states = dict.fromkeys(PROD, "running") | {"superset": "stopped"}
        services = [ServiceState(name, state=one) for name, one in states.items()]
        return EnvironmentState(Environment.PROD, "docker", 0, 0, services=services)

    def printed(_compose: Compose, words: Sequence[str], _timeout: float) -> str:
        commands.append(words)
        return json.dumps([FOUND])

    monkeypatch.setattr(engines, "connected", connected)
    monkeypatch.setattr(running, "state", state)
    monkeypatch.setattr(docker.compose, "version", lambda: "2.30.0")
    monkeypatch.setattr(command_of_doctor.command, "printed", printed)
    return commands


def doctor(home: Path, *words: str, **changes: str) -> Result:
    names = {name: None for name, _variable in declared()}
    environ = {**names, **COMPLETE, **changes, "CHT_SYNC_HOME": str(home)}
    return CliRunner().invoke(main, ["doctor", "--json", *words], env=environ, catch_exceptions=False)


def test_servers_are_asked_inside_the_network_and_the_machine_here(
    asked: list[Sequence[str]], tmp_path: Path
) -> None:
    done = doctor(tmp_path)
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert FOUND in found
    assert {one["group"] for one in found} == {
        "machine",
        "settings",
        "PostgREST",
        "Superset",
        "Docker",
    }
    (words,) = asked
    assert words == [
        "examine-inside",
        *(f"--service={name}" for name in PROD),
        *(f"--running={name}" for name in PROD if name != "superset"),
    ]
    (stopped,) = (one for one in found if one["check"] == "services")
    assert stopped["message"] == "superset is stopped"
    assert "cht-sync logs superset" in stopped["remedy"]


def test_what_is_run_inside_is_a_command_that_takes_these_words(
    asked: list[Sequence[str]], patient: Patient
) -> None:
    """The same words, to the same program, with the settings that a container is handed out."""
    doctor(patient.world.home)
    names = {name: None for name, _variable in declared()}
    environ = {**names, **patient.environment(), "CHT_SYNC_ENVIRONMENT": "prod"}
    words = ["examine-inside", *(f"--service={name}" for name in PROD), "--running=postgrest"]
    done = CliRunner().invoke(main, words, env=environ, catch_exceptions=False)
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert {one["group"] for one in found} == {
        "CouchDB",
        "PostgreSQL",
        "PostgREST",
        "pipelines",
        "dbt",
    }
    assert [one for one in found if one["result"] in ("failed", "warning")] == []


def test_inside_a_container_the_doctor_asks_the_servers_alone(patient: Patient) -> None:
    """As with Compose alone: `docker compose run --rm cht-sync doctor`."""
    names = {name: None for name, _variable in declared()}
    environ = {**names, **patient.environment(), "CHT_SYNC_ENVIRONMENT": "prod"}
    done = CliRunner().invoke(main, ["doctor", "--json"], env=environ, catch_exceptions=False)
    found = json.loads(done.stdout)
    assert {one["group"] for one in found} == {
        "CouchDB",
        "PostgreSQL",
        "PostgREST",
        "pipelines",
        "dbt",
    }
    assert {one["check"]: one["result"] for one in found}["token"] == "ok"


def test_a_container_that_cannot_be_started_is_a_finding(
    asked: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_words: object) -> str:
        raise ChtSyncError("docker ended with exit code 1: No such command 'examine-inside'.")

    monkeypatch.setattr(command_of_doctor.command, "printed", refuses)
    done = doctor(tmp_path)
    (one,) = (each for each in json.loads(done.stdout) if each["check"] == "inside")
    assert done.exit_code == 1
    assert "cannot be asked from inside the network" in one["message"]
    assert "CHT_SYNC_IMAGE" in one["remedy"]


def test_containers_whose_engine_is_gone_are_told_without_a_traceback(
    asked: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connected() -> AbstractContextManager[Any]:
        raise ChtSyncError("no Docker engine at here", hint="sudo systemctl start docker")

    monkeypatch.setattr(engines, "connected", connected)
    found = json.loads(doctor(tmp_path).stdout)
    (one,) = (each for each in found if each["check"] == "docker")
    assert (one["result"], one["message"]) == ("failed", "no Docker engine at here")


def test_a_service_without_a_container_is_told(
    asked: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [ServiceState(name, state="waiting" if name == "dbt" else "running") for name in PROD]
    found_now = EnvironmentState(Environment.PROD, "docker", 0, 0, services=states)
    monkeypatch.setattr(running, "state", lambda _installation, _engine: found_now)
    found = json.loads(doctor(tmp_path).stdout)
    (one,) = (each for each in found if each["check"] == "services")
    assert (one["result"], one["message"]) == ("failed", "dbt is without a container")
    assert one["remedy"].endswith("cht-sync up")


def test_a_setting_that_has_changed_since_is_told(asked: list[Sequence[str]], tmp_path: Path) -> None:
    found = json.loads(doctor(tmp_path, DBT_THREADS="7").stdout)
    (one,) = (each for each in found if each["check"] == "settings-in-force")
    assert one["result"] == "warning"
    assert one["message"].startswith("DBT_THREADS: ")
    assert one["remedy"].endswith("cht-sync up")


def test_another_environment_than_the_one_that_runs_is_looked_at_as_not_running(
    asked: list[Sequence[str]], tmp_path: Path
) -> None:
    found = json.loads(doctor(tmp_path, "--env", "gamma", "--runtime", "embedded").stdout)
    assert asked == []
    (one,) = (each for each in found if each["check"] == "services" and each["result"] == "warning")
    assert one["message"].startswith("prod is running here")
