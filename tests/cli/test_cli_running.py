"""Commands that mean the running environment, whose settings may be others than those given now."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cht_sync.cli import main
from cht_sync.environments import Environment
from cht_sync.process import ProcessId
from cht_sync.runtime import state as states
from cht_sync.runtime.state import EnvironmentState
from cht_sync.settings import STATE_FOLDER, declared, load

SAID = (
    "local runs with other settings than those given now ({}); they count after: cht-sync down, cht-sync up\n"
)
NOWHERE = "POSTGRES_HOST=127.0.0.1\nPOSTGRES_PORT=9\n"
STRANGER = ("verify", "--database", "stranger")
"""Ends, with what it was told, before it asks any server."""


def run(home: Path, *words: str, **variables: str) -> Result:
    unset: dict[str, str | None] = {name: None for name, _variable in declared()}
    return CliRunner().invoke(
        main, words, env={**unset, "CHT_SYNC_HOME": str(home), **variables}, catch_exceptions=False
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of a `local` whose supervisor is this process, started with the settings of `.env`."""
    (tmp_path / ".env").write_text(f"{NOWHERE}COUCHDB_DBS=medic\nPOSTGRES_PASSWORD=swordfish-1\n")
    (tmp_path / STATE_FOLDER).mkdir()
    identity = ProcessId.of(os.getpid())
    given = load(Environment.LOCAL, home=tmp_path, environ={}).given
    states.write(
        tmp_path / STATE_FOLDER,
        EnvironmentState(
            Environment.LOCAL, "embedded", identity.pid, identity.started, phase="running", given=dict(given)
        ),
    )
    return tmp_path


def test_nothing_is_said_while_the_settings_are_those_that_it_was_started_with(home: Path) -> None:
    answer = run(home, "token")
    assert (answer.exit_code, answer.stderr) == (0, "")


def test_settings_that_have_changed_are_named_without_their_values_and_do_not_count(home: Path) -> None:
    (home / ".env").write_text(f"{NOWHERE}COUCHDB_DBS=stranger\nPOSTGRES_PASSWORD=swordfish-2\n")
    answer = run(home, *STRANGER)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert answer.stderr.startswith(SAID.format("COUCHDB_DBS, POSTGRES_PASSWORD"))
    assert "stranger is none of COUCHDB_DBS" in answer.stderr
    assert "swordfish" not in answer.stderr


@pytest.mark.parametrize(
    "words", [("token",), ("dead-letters", "list"), ("init-db",), ("accept-server",), ("resync", "medic")]
)
def test_each_command_that_asks_the_running_environment_says_so(home: Path, words: tuple[str, ...]) -> None:
    answer = run(home, *words, COUCHDB_DBS="another", POSTGRES_SCHEMA="v9")
    assert answer.stderr.startswith(SAID.format("COUCHDB_DBS, POSTGRES_SCHEMA"))


def test_settings_that_are_refused_by_now_are_told_and_the_recorded_ones_count(home: Path) -> None:
    answer = run(home, "token", POSTGRES_PORT="many", COUCHDB_PORT="few")
    assert answer.exit_code == 0
    assert answer.stderr.count("\n") == 1
    assert answer.stderr.startswith("local runs with other settings than those given now (")
    assert "POSTGRES_PORT" in answer.stderr
    assert "COUCHDB_PORT" in answer.stderr


def test_what_is_printed_for_programs_holds_nothing_else(home: Path) -> None:
    unchanged, changed = run(home, "token"), run(home, "token", COUCHDB_DBS="another")
    assert changed.stdout.count("\n") == unchanged.stdout.count("\n") == 1


def test_a_service_of_the_environment_is_not_told_that_its_variables_are_others(home: Path) -> None:
    variables = {name: text for name, text in os.environ.items() if name not in dict(declared())}
    done = subprocess.run(
        [sys.executable, "-m", "cht_sync", "token"],
        env={**variables, "CHT_SYNC_HOME": str(home), "COUCHDB_DBS": "stranger"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
