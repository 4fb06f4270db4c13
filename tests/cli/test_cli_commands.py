"""The commands as a person types them: their exit codes, and what they say when something is wrong."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dotenv import dotenv_values

from cht_sync import __version__
from cht_sync.cli import main, services
from cht_sync.environments import Environment
from cht_sync.settings import declared, load

SECRET = "swordfish-swordfish-swordfish-swordfish"
OURS = {name for name, _variable in declared()} | {"COUCHDB_DB"}


class Terminal:
    """Runs commands with a home of their own and no settings but those given."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *arguments: str, **variables: str) -> Result:
        """Run a command in this process."""
        unset: dict[str, str | None] = dict.fromkeys(OURS)
        environment = unset | {"CHT_SYNC_HOME": str(self.home)} | variables
        done = CliRunner().invoke(main, arguments, env=environment, prog_name="cht-sync")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    def run_program(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m cht_sync`."""
        inherited = {name: value for name, value in os.environ.items() if name not in OURS}
        return subprocess.run(
            [sys.executable, "-m", "cht_sync", *arguments],
            env={**inherited, "CHT_SYNC_HOME": str(self.home), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*"))


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    home = tmp_path / "home"
    home.mkdir()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Terminal(home)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_module_tells_its_version(terminal: Terminal) -> None:
    assert terminal.run_program("--version").stdout == f"cht-sync, version {__version__}\n"


def test_the_program_ends_with_the_exit_code_and_shows_no_traceback(terminal: Terminal) -> None:
    usage = terminal.run_program("up", "--env", "mars")
    assert (usage.returncode, usage.stdout) == (2, "")
    settings = terminal.run_program("render-config", COUCHDB_PORT="abc")
    assert (settings.returncode, settings.stdout) == (2, "")
    assert settings.stderr.startswith('error: COUCHDB_PORT "abc" is no port (1 to 65535)')
    failure = terminal.run_program("logs")
    assert (failure.returncode, failure.stdout) == (1, "")
    assert "Traceback" not in usage.stderr + settings.stderr + failure.stderr


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("frobnicate",), "No such command 'frobnicate'"),
        (("up", "--env", "mars"), "Invalid value for '--env': 'mars' is not one of 'local', 'gamma', 'prod'"),
        (("up", "--runtime", "podman"), "Invalid value for '--runtime'"),
        (("up", "--without", "kafka"), "Invalid value for '--without'"),
        (("logs", "kafka"), "'kafka' is not one of"),
        (("status", "--colour"), "--colour"),
        (("generate", "--docs", "many"), "Invalid value for '--docs'"),
        (("render-config", "--check"), "--check needs a folder"),
    ],
)
def test_wrong_usage_has_exit_code_2_and_starts_nothing(
    arguments: tuple[str, ...], what: str, terminal: Terminal
) -> None:
    done = terminal.run(*arguments)
    assert done.exit_code == 2
    assert what in done.stderr
    assert "state.json" not in " ".join(terminal.files())


@pytest.mark.parametrize(
    "arguments", [("up", "--detach"), ("render-config", "--output", "rendered"), ("init-db",), ("generate",)]
)
def test_wrong_settings_are_named_a_line_each_and_nothing_is_started_or_written(
    arguments: tuple[str, ...], terminal: Terminal
) -> None:
    done = terminal.run(*arguments, COUCHDB_PORT="abc", COUCHDB_DBS="", POSTGRES_PASSWORD=SECRET)
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        'error: COUCHDB_PORT "abc" is no port (1 to 65535); for example COUCHDB_PORT=5984',
        'error: COUCHDB_DBS "" names no database; for example COUCHDB_DBS="medic medic-sentinel"',
        f"Set it in {terminal.home / '.env'} or in the environment (see env.template).",
    ]
    assert SECRET not in done.stdout + done.stderr
    assert terminal.files() == []


@pytest.mark.parametrize("environment", ["gamma", "prod"])
def test_a_missing_setting_of_the_environment_is_named(environment: str, terminal: Terminal) -> None:
    done = terminal.run("up", "--env", environment, "--detach")
    assert done.exit_code == 2
    assert (
        f"error: COUCHDB_HOST is required for {environment}; for example COUCHDB_HOST=couchdb.example.org\n"
        in done.stderr
    )
    assert terminal.files() == []


def test_without_an_engine_docker_is_refused_with_the_way_out(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    done = terminal.run("up", "--runtime", "docker")
    assert done.exit_code == 1
    assert "error: no Docker engine at unix:///nowhere/docker.sock\n" in done.stderr
    assert "--runtime embedded" in done.stderr


def test_where_nothing_runs_status_says_so_and_fails(terminal: Terminal) -> None:
    done = terminal.run("status")
    assert (done.exit_code, done.stdout) == (1, "Nothing is running. Start it with: cht-sync up\n")


def test_where_nothing_runs_the_status_for_machines_has_the_same_shape(terminal: Terminal) -> None:
    done = terminal.run("status", "--json")
    assert done.exit_code == 1
    for key in ("environment", "runtime", "services", "databases", "dbt"):
        assert f'"{key}"' in done.stdout


def test_where_nothing_runs_down_is_done(terminal: Terminal) -> None:
    done = terminal.run("down")
    assert (done.exit_code, done.stdout) == (0, "Nothing was running.\n")


def test_where_there_are_no_logs_it_is_said_with_what_to_do(terminal: Terminal) -> None:
    done = terminal.run("logs")
    assert done.exit_code == 1
    assert done.stderr == "error: there are no logs yet\nStart something first: cht-sync up\n"


def test_logs_are_shown_with_the_name_of_their_service(terminal: Terminal) -> None:
    folder = terminal.home / ".cht-sync" / "logs"
    folder.mkdir(parents=True)
    (folder / "couchdb.log").write_text("one\ntwo\nthree\n")
    (folder / "dbt.log").write_text("four\n")
    assert terminal.run("logs", "-n", "2").stdout.splitlines() == [
        "couchdb | two",
        "couchdb | three",
        "dbt     | four",
    ]
    assert terminal.run("logs", "dbt").stdout == "dbt | four\n"


def test_a_damaged_record_of_what_runs_is_an_error_with_the_way_out(terminal: Terminal) -> None:
    (terminal.home / ".cht-sync").mkdir()
    (terminal.home / ".cht-sync" / "state.json").write_text("{")
    for command in ("status", "down", "up"):
        done = terminal.run(command)
        assert done.exit_code == 1
        assert re.match(r"error: .*state\.json cannot be read", done.stderr)
        assert done.stderr.endswith("Delete that file if nothing runs any more.\n")


def test_init_writes_a_private_file_with_fresh_secrets_that_is_enough_for_local(terminal: Terminal) -> None:
    done = terminal.run("init")
    assert done.exit_code == 0
    path = terminal.home / ".env"
    assert done.stdout == f"Wrote {path} with fresh secrets. Next: cht-sync up --env local\n"
    assert path.stat().st_mode & 0o777 == 0o600
    written = dotenv_values(path, interpolate=False)
    assert set(written) == {name for name, variable in declared() if variable.secret and not variable.issued}
    settings = load(Environment.LOCAL, home=terminal.home, environ={})
    assert settings.couchdb_password == written["COUCHDB_PASSWORD"]
    assert not any(value in done.stdout for value in written.values() if value)


def test_init_never_replaces_a_file_unless_forced(terminal: Terminal) -> None:
    (terminal.home / ".env").write_text("COUCHDB_PORT=1\n")
    done = terminal.run("init")
    assert done.exit_code == 2
    assert (
        done.stderr
        == f"error: {terminal.home / '.env'} is there already\nEdit it, or replace it with --force.\n"
    )
    assert (terminal.home / ".env").read_text() == "COUCHDB_PORT=1\n"
    assert terminal.run("init", "--force").exit_code == 0
    assert "COUCHDB_PASSWORD" in dotenv_values(terminal.home / ".env")


def test_init_writes_what_it_is_given_so_that_it_is_read_back(terminal: Terminal) -> None:
    password = """it's a "$HOME" \\ # of passwords"""
    done = terminal.run("init", "--set", f"COUCHDB_PASSWORD={password}", "--set", "COUCHDB_DBS=medic a/b")
    assert done.exit_code == 0
    settings = load(Environment.LOCAL, home=terminal.home, environ={})
    assert settings.couchdb_password == password
    assert settings.couchdb_dbs == ("medic", "a/b")
    assert password not in done.stdout


def test_init_for_prod_says_what_is_still_to_be_set(terminal: Terminal) -> None:
    done = terminal.run("init", "--env", "prod", "--set", "COUCHDB_HOST=couchdb.example.org")
    assert done.exit_code == 0
    still = re.findall(r"^  ([A-Z_]+) is required for prod", done.stdout, re.MULTILINE)
    assert {"COUCHDB_PASSWORD", "COUCHDB_DBS", "COUCHDB_USER", "POSTGRES_HOST"} <= set(still)
    assert "COUCHDB_HOST" not in still
    assert "PGRST_JWT_SECRET" not in still


@pytest.mark.parametrize("assignment", ["NO_SUCH_NAME=1", "COUCHDB_PORT", "COUCHDB_PORT=abc"])
def test_init_refuses_what_is_no_setting_and_writes_nothing(assignment: str, terminal: Terminal) -> None:
    done = terminal.run("init", "--set", assignment)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert assignment.partition("=")[0] in done.stderr
    assert terminal.files() == []


def test_init_in_a_folder_that_is_not_there_is_an_error_in_one_line(tmp_path: Path) -> None:
    done = Terminal(tmp_path / "none").run("init")
    assert done.exit_code in (1, 2)
    assert done.stderr.startswith("error: ")


def test_render_config_prints_every_file_and_no_secret(terminal: Terminal) -> None:
    done = terminal.run("render-config", COUCHDB_DBS="medic medic-sentinel", COUCHDB_PASSWORD=SECRET)
    assert done.exit_code == 0
    assert re.findall(r"^# ----- (.*) -----$", done.stdout, re.MULTILINE) == [
        "pipeline/medic.conf",
        "pipeline/medic-sentinel.conf",
        "pipelines.yml",
        "logstash.yml",
    ]
    assert SECRET not in done.stdout
    assert "position_headers" in done.stdout
    assert terminal.run("render-config", "--output", "-", "--engine", "logstash").exit_code == 0


def test_render_config_writes_a_folder_and_checks_it(terminal: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "rendered"
    write = ("render-config", "--output", str(folder))
    missing = terminal.run(*write, "--check", COUCHDB_DBS="medic")
    assert missing.exit_code == 1
    assert "pipelines.yml is not up to date\n" in missing.stdout
    assert not folder.exists()

    assert terminal.run(*write, COUCHDB_DBS="medic").exit_code == 0
    fresh = terminal.run(*write, "--check", COUCHDB_DBS="medic")
    assert (fresh.exit_code, fresh.stdout) == (0, "")

    stale = terminal.run(*write, "--check", COUCHDB_DBS="other")
    assert stale.exit_code == 1
    said = stale.stdout.splitlines()
    assert said[:3] == [
        "pipeline/medic.conf is not up to date",
        "pipeline/other.conf is not up to date",
        "pipelines.yml is not up to date",
    ]
    assert f"--- {folder}/pipelines.yml" in said
    assert "+++ rendered pipelines.yml" in said
    assert '-  path.config: "pipeline/medic.conf"' in said
    assert '+  path.config: "pipeline/other.conf"' in said


def test_render_config_takes_the_engine_from_the_settings(terminal: Terminal) -> None:
    assert "POSTGREST_TOKEN" in terminal.run("render-config", PIPELINE_ENGINE="logstash").stdout
    assert "POSTGREST_TOKEN" not in terminal.run("render-config").stdout


def test_render_config_names_a_folder_that_cannot_be_written(terminal: Terminal) -> None:
    done = terminal.run("render-config", "--output", "/dev/null/folder")
    assert done.exit_code == 1
    assert done.stderr == "error: /dev/null/folder cannot be written: Not a directory\n"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "give one of -f, -e and --path.settings"),
        (("-f", "none.conf"), "none.conf: no configuration found"),
        (("-e", "input { nothing {} }"), 'config string:1:9: unknown input "nothing"'),
    ],
)
def test_a_refused_pipeline_has_the_exit_code_of_logstash(
    arguments: tuple[str, ...], what: str, terminal: Terminal
) -> None:
    done = terminal.run("pipeline", "run", *arguments)
    assert done.exit_code == 1
    assert f"error: {what}" in done.stderr


def test_rendered_pipelines_can_be_checked_without_running_them(terminal: Terminal, tmp_path: Path) -> None:
    assert terminal.run("render-config", "--output", str(tmp_path / "rendered")).exit_code == 0
    variables = dict.fromkeys(("COUCHDB_HOST", "COUCHDB_USER", "COUCHDB_PASSWORD"), "x")
    done = terminal.run(
        "pipeline",
        "run",
        "--path.settings",
        str(tmp_path / "rendered"),
        "--config.test_and_exit",
        COUCHDB_PORT="5984",
        HTTP_ENDPOINT="localhost:3000",
        PGRST_JWT_SECRET=SECRET,
        **variables,
    )
    assert (done.exit_code, done.stdout) == (0, "Configuration OK\n"), done.stderr


@pytest.mark.parametrize(("environment", "refused"), [("gamma", True), ("prod", True), ("local", False)])
def test_a_couchdb_of_somebody_elses_is_not_ours_because_of_its_name(
    environment: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_out = {"CHT_SYNC_ENVIRONMENT": environment, "COUCHDB_HOST": "couchdb", "COUCHDB_DBS": "medic"}
    for name, value in handed_out.items():
        monkeypatch.setenv(name, value)
    assert services._starts_couchdb() is not refused
