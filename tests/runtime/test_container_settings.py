"""What containers are handed, and what is refused before."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from compose_plugin import needs_compose

from cht_sync.cli import main
from cht_sync.environments import SERVICES, Environment
from cht_sync.errors import SettingsError
from cht_sync.runtime import credentials
from cht_sync.runtime.containers import compose, handed_out, inside, recorded, running
from cht_sync.runtime.containers import engine as engines
from cht_sync.settings import CHECKOUT, Settings, load

WITH_SETTINGS = CHECKOUT / "cht_sync" / "runtime" / "containers" / "with-settings"
SOMEBODY_ELSES = {
    "COUCHDB_HOST": "couchdb.example.org",
    "COUCHDB_PORT": "443",
    "COUCHDB_SECURE": "true",
    "POSTGRES_HOST": "postgres.example.org",
    "HTTP_ENDPOINT": "postgrest.example.org:3000",
}


def settings(tmp_path: Path, environment: Environment = Environment.LOCAL, **given: str) -> Settings:
    return load(environment, home=tmp_path, environ=given, read_file=False, needs=())


class FakeEngine:
    """An engine with one container, which was started with the settings in a file."""

    def __init__(self, file: str) -> None:
        self._container: Any = SimpleNamespace(labels={engines.SETTINGS_FILE: file}, status="running")

    def project(self, _name: str) -> list[Any]:
        return [self._container]

    def owner_of_data(self, _name: str) -> str | None:
        return None


def test_local_never_reaches_servers_that_the_settings_name(tmp_path: Path) -> None:
    wanted = settings(tmp_path, **SOMEBODY_ELSES)
    found = handed_out.handed_out(handed_out.placed(wanted, SERVICES[Environment.LOCAL]))
    assert "example.org" not in str(found)


def test_gamma_writes_into_the_postgresql_that_it_has_started(tmp_path: Path) -> None:
    wanted = settings(tmp_path, Environment.GAMMA, **SOMEBODY_ELSES)
    found = handed_out.handed_out(handed_out.placed(wanted, SERVICES[Environment.GAMMA]))
    assert found["logstash"]["COUCHDB_HOST"] == "couchdb.example.org"
    assert found["logstash"]["HTTP_ENDPOINT"] == "postgrest:3000"
    assert "postgres.example.org" not in str(found)


@pytest.mark.parametrize("service", handed_out.SECRETS)
def test_a_container_without_the_key_of_hashed_fields_starts(service: str, tmp_path: Path) -> None:
    """The names of the fields are no secret and are handed to all; the key is handed to the pipelines."""
    wanted = settings(tmp_path, REDACT_HASH_FIELDS="patient_id", REDACT_HASH_SECRET="x" * 32)
    found = handed_out.handed_out(handed_out.placed(wanted, SERVICES[Environment.LOCAL]))
    taken = inside.handed_out_settings(found[service])
    assert taken is not None
    assert taken.redact_hash_fields == ("patient_id",)


def test_a_variable_that_is_gone_is_gone_in_the_container_too(tmp_path: Path) -> None:
    handed_out.write({"dbt": {"A": "1", "B": "2"}}, tmp_path)
    handed_out.write({"dbt": {"A": "3"}}, tmp_path)
    assert {file.name: file.read_text() for file in (tmp_path / "dbt").iterdir()} == {"A": "3"}


def test_settings_that_are_refused_leave_nothing_to_start_with(tmp_path: Path) -> None:
    output = tmp_path / "handed-out"
    handed_out.write({"init-db": {"A": "1"}, "render-config": {"A": "1"}, "dbt": {"A": "1"}}, output)
    words = ["hand-out-settings", "--env", "prod", "--project", str(tmp_path), "--output", str(output)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert [list((output / name).iterdir()) for name in ("init-db", "render-config")] == [[], []]
    assert (output / "dbt" / "A").exists()


def test_with_settings_makes_variables_of_files_as_they_are(tmp_path: Path) -> None:
    value = 'it\'s $HOME `x` "y" # z'
    (tmp_path / "SECRET").write_text(value)
    done = subprocess.run(
        [WITH_SETTINGS, "sh", "-c", 'printf %s "$SECRET"'],
        env={"PATH": os.environ["PATH"], "CHT_SYNC_HANDED_OUT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == value


def test_with_settings_leaves_certificates_files(tmp_path: Path) -> None:
    (tmp_path / "COUCHDB_CA_FILE").write_text("/run/cht-sync/couchdb_ca_file.pem")
    (tmp_path / "couchdb_ca_file.pem").write_text("-----BEGIN CERTIFICATE-----")
    done = subprocess.run(
        [WITH_SETTINGS, "env"],
        env={"PATH": os.environ["PATH"], "CHT_SYNC_HANDED_OUT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "COUCHDB_CA_FILE=/run/cht-sync/couchdb_ca_file.pem" in done.stdout.splitlines()
    assert "BEGIN CERTIFICATE" not in done.stdout


def test_a_container_that_was_handed_nothing_does_not_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [WITH_SETTINGS, "true"],
        env={"PATH": os.environ["PATH"], "CHT_SYNC_HANDED_OUT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no settings were handed out here" in done.stderr


def test_containers_of_another_installation_are_left_alone(tmp_path: Path) -> None:
    theirs: Any = FakeEngine("/somewhere/else/compose.env")
    with pytest.raises(SettingsError, match="belong to another installation") as refused:
        running.prepare(settings(tmp_path), (), theirs)
    assert "COMPOSE_PROJECT_NAME" in str(refused.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_data_of_another_installation_are_left_alone_unless_it_is_gone(tmp_path: Path) -> None:
    other = tmp_path / "other" / "compose.env"
    engine: Any = SimpleNamespace(project=lambda _name: [], owner_of_data=lambda _name: str(other))
    running.prepare(settings(tmp_path / "ours"), (), engine)
    other.parent.mkdir()
    other.write_text("")
    with pytest.raises(SettingsError, match="the data of cht-sync-local belong to another installation"):
        running.prepare(settings(tmp_path / "ours"), (), engine)


def test_a_default_that_was_taken_is_the_port_of_last_time_again(tmp_path: Path) -> None:
    engine: Any = SimpleNamespace(project=lambda _name: [], owner_of_data=lambda _name: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        taken = dataclasses.replace(settings(tmp_path), superset_port=port, runtime_folder=running.RUNTIME)
        first = running.prepare(taken, (), engine)
        recorded.write(first.settings.data_folder, first.recorded)
        again = running.prepare(taken, (), engine)
    assert again.recorded.ports["superset"] == first.recorded.ports["superset"]


def test_another_project_name_is_refused_while_the_old_one_runs(tmp_path: Path) -> None:
    record = recorded.Recorded(Environment.LOCAL, "cht-sync-local", [], {}, [], {})
    recorded.write(tmp_path / ".cht-sync", record)
    engine: Any = FakeEngine("")
    with pytest.raises(
        SettingsError, match="COMPOSE_PROJECT_NAME has changed, and cht-sync-local still runs"
    ):
        running.prepare(settings(tmp_path, COMPOSE_PROJECT_NAME="other"), (), engine)


def test_a_folder_with_an_apostrophe_reaches_compose_as_it_is(tmp_path: Path) -> None:
    needs_compose()
    home = tmp_path / "o'brien $HOME"
    engine: Any = SimpleNamespace(project=lambda _name: [], owner_of_data=lambda _name: None)
    given = dataclasses.replace(settings(home), runtime_folder=running.RUNTIME)
    wanted = running.prepare(given, ["superset"], engine)
    file = wanted.settings.data_folder / compose.SETTINGS_FILE
    words = ["--project-name", "x", "--env-file", str(file), "--file", "-", "config", "--format", "json"]
    shown = subprocess.run(
        ["docker", "compose", *words],
        input="services: {one: {image: x, working_dir: '${CHT_SYNC_SETTINGS}'}}",
        capture_output=True,
        text=True,
        check=True,
    )
    # Compose doubles a dollar in what it shows.
    folder = str(wanted.settings.data_folder).replace("$", "$$")
    assert json.loads(shown.stdout)["services"]["one"]["working_dir"] == folder


@pytest.mark.parametrize(
    ("published", "shown"), [("", "127.0.0.1"), ("10.1.2.3", "10.1.2.3"), ("0.0.0.0", "127.0.0.1")]
)
def test_what_is_published_elsewhere_is_shown_there(tmp_path: Path, published: str, shown: str) -> None:
    ports = {"postgres": 5432, "couchdb": 5984, "superset": 8080}
    given = {"PUBLISH_ADDRESS": published}
    record = recorded.Recorded(Environment.LOCAL, "cht-sync-local", [], ports, [], given)
    found = running.of(record, tmp_path).settings
    assert found.couchdb_url == f"http://{shown}:5984"
    credentials.write_for_tools(found)
    assert f"{shown}:5432:*:" in (found.data_folder / "pgpass").read_text()
    assert f"machine {shown} " in (found.data_folder / "netrc").read_text()


def test_each_environment_is_a_project_of_its_own(tmp_path: Path) -> None:
    names = {running.project_of(settings(tmp_path, environment)) for environment in Environment}
    assert names == {"cht-sync-local", "cht-sync-gamma", "cht-sync-prod"}
