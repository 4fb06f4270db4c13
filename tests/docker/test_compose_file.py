"""What `docker compose config` makes of our file: needs the plugin, no engine.

The golden files are changed on purpose only: `UPDATE_GOLDEN=1 pytest tests/docker/test_compose_file.py`
writes them anew, and the change is reviewed.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_plugin import needs_compose

from cht_sync.environments import SERVICES, Environment
from cht_sync.runtime.containers import handed_out
from cht_sync.settings import CHECKOUT, DOCKER, Settings, declared, load

GOLDEN = Path(__file__).parent / "golden"
ONCE = {
    Environment.LOCAL: {"settings-local", "render-config", "couchdb-setup", "init-db"},
    Environment.GAMMA: {"settings-gamma", "render-config", "init-db", "load"},
    Environment.PROD: {"settings-prod", "render-config", "init-db", "load"},
}
"""What ends: before the services start, but for the load."""
ELSEWHERE = ("COMPOSE_PROJECT_NAME", "POSTGRES_PORT", "COUCHDB_PORT", "SUPERSET_PORT", "PIPELINE_ENGINE")
"""Settings of other groups that the compose file reads."""
INTERNAL = ("CHT_SYNC_SETTINGS", "CHT_SYNC_WITHOUT")
"""What only `cht-sync up` sets."""


def configuration(environment: Environment, tmp_path: Path, text: str = "") -> str:
    """The file as Compose understands it for a profile, without this machine's folder."""
    needs_compose()
    (tmp_path / ".env").write_text(text)
    words = ["--project-directory", str(CHECKOUT), "--file", str(CHECKOUT / "docker-compose.yml")]
    words += ["--env-file", str(tmp_path / ".env"), "--profile", environment.value, "config"]
    names = {name for name, _variable in declared()}
    environ = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        ["docker", "compose", *words], env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout.replace(str(CHECKOUT), "CHECKOUT")


def services(environment: Environment, tmp_path: Path, text: str = "") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(configuration(environment, tmp_path, text))["services"]
    return found


@pytest.mark.parametrize("environment", Environment)
def test_a_profile_has_exactly_the_services_of_the_table(environment: Environment, tmp_path: Path) -> None:
    assert set(services(environment, tmp_path)) == {*SERVICES[environment]} | ONCE[environment]


@pytest.mark.parametrize("environment", Environment)
def test_the_configuration_is_the_golden_one(environment: Environment, tmp_path: Path) -> None:
    found = configuration(environment, tmp_path)
    golden = GOLDEN / f"{environment}.yml"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(found)
    assert found == golden.read_text()


def test_the_defaults_of_the_file_are_those_of_the_settings() -> None:
    text = (CHECKOUT / "docker-compose.yml").read_text()
    used = dict(re.findall(r"\$\{([A-Z0-9_]+):-((?:\$\{[^}]*\}|[^}])*)\}", text))
    known = {name: variable for name, variable in declared() if variable.group == DOCKER}
    known |= {name: variable for name, variable in declared() if name in ELSEWHERE}
    assert set(used) == {*known, *INTERNAL}
    computed = {"LOGSTASH_IMAGE": "cht-sync-logstash:${PIPELINE_ENGINE:-native}"}
    wrong = {
        name: (used[name], variable.default)
        for name, variable in known.items()
        if used[name] != computed.get(name, variable.default)
    }
    assert wrong == {}


@pytest.mark.parametrize("engine", ["native", "logstash"])
def test_pipeline_engine_chooses_the_target_and_the_image(engine: str, tmp_path: Path) -> None:
    logstash = services(Environment.PROD, tmp_path, f"PIPELINE_ENGINE={engine}")["logstash"]
    assert logstash["build"]["target"] == engine
    assert logstash["image"] == f"cht-sync-logstash:{engine}"


@pytest.mark.parametrize("environment", Environment)
def test_every_service_keeps_to_the_house_rules(environment: Environment, tmp_path: Path) -> None:
    for name, one in services(environment, tmp_path).items():
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one.get("read_only", False) is (name != "couchdb"), name
        assert one["logging"]["options"]["max-size"], name
        assert one["mem_limit"], name
        once = "on-failure" if name == "load" else "no"
        assert one["restart"] == (once if name in ONCE[environment] else "unless-stopped"), name
        if name in SERVICES[environment]:  # what runs once may have to read what is root's
            assert one.get("user") != "root", name


def test_who_is_handed_settings_is_who_has_a_volume_for_them() -> None:
    settings: Settings = load(Environment.LOCAL, environ={"CHT_SYNC_HOME": str(CHECKOUT)}, read_file=False)
    handed = set(handed_out.handed_out(settings))
    volumes = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["volumes"]
    assert {f"for-{name}" for name in handed} == {name for name in volumes if name.startswith("for-")}


def test_the_metrics_of_dbt_can_be_reached_from_its_network() -> None:
    """By default the loop listens on loopback, which in a container is the container's."""
    dbt = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]["dbt"]
    assert dbt["command"] == ["dbt", "loop", "--metrics-host", "0.0.0.0"]
