"""`status --watch`: in place on a terminal, one look after another elsewhere, until Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cht_sync.environments import Environment
from cht_sync.process import ProcessId
from cht_sync.runtime import state as states
from cht_sync.runtime.state import EnvironmentState, ServiceState
from cht_sync.settings import STATE_FOLDER, declared

NOTHING = "Nothing is running. Start it with: cht-sync up"
INTERRUPTED = 130
PATIENCE = 60


def environment(home: Path) -> dict[str, str]:
    ours = {name for name, _variable in declared()}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return {**inherited, "CHT_SYNC_HOME": str(home), "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}


@contextmanager
def watching(home: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a pipe."""
    watch = subprocess.Popen(
        [sys.executable, "-m", "cht_sync", "status", "--watch", *words],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield watch
    finally:
        watch.kill()
        watch.communicate()


def line(watch: subprocess.Popen[str]) -> str:
    assert watch.stdout is not None
    return watch.stdout.readline().rstrip("\n")


def run_in(home: Path, *services: ServiceState) -> None:
    """Record an environment whose supervisor is this process."""
    identity = ProcessId.of(os.getpid())
    given = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "9", "COUCHDB_PORT": "9", "COUCHDB_DBS": "medic"}
    (home / STATE_FOLDER).mkdir(exist_ok=True)
    states.write(
        home / STATE_FOLDER,
        EnvironmentState(
            Environment.LOCAL,
            "embedded",
            identity.pid,
            identity.started,
            phase="running",
            services=list(services),
            given=given,
        ),
    )


def test_in_a_pipe_a_look_is_printed_once_and_again_when_something_has_changed(tmp_path: Path) -> None:
    with watching(tmp_path) as watch:
        assert line(watch) == NOTHING
        run_in(tmp_path, ServiceState("dbt", "starting"))
        # The same look is not printed again: the next line is of the next look.
        assert line(watch) == "cht-sync local (embedded)"
        watch.send_signal(signal.SIGINT)
        assert watch.stdout is not None
        rest = watch.stdout.read()
        assert watch.wait(PATIENCE) == INTERRUPTED
        assert "dbt" in rest
        assert "\x1b" not in rest
        assert "Traceback" not in rest


def test_for_machines_each_look_is_a_line(tmp_path: Path) -> None:
    with watching(tmp_path, "--json") as watch:
        looks = [json.loads(line(watch)) for _ in range(2)]
        assert [look["services"] for look in looks] == [[], []]
        watch.send_signal(signal.SIGTERM)
        assert watch.wait(PATIENCE) == INTERRUPTED


def test_the_end_of_the_reader_ends_it(tmp_path: Path) -> None:
    with watching(tmp_path, "--json") as watch:
        assert watch.stdout is not None
        line(watch)
        watch.stdout.close()
        assert watch.wait(PATIENCE) != 0
        watch.stdout = None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_on_a_terminal_it_stays_in_place_and_gives_the_cursor_back(tmp_path: Path, number: int) -> None:
    run_in(tmp_path, ServiceState("dbt", "starting"))
    ours, theirs = pty.openpty()
    watch = subprocess.Popen(
        [sys.executable, "-m", "cht_sync", "status", "--watch"],
        env=environment(tmp_path),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""

    def read_until(wanted: bytes, times: int) -> None:
        nonlocal said
        while said.count(wanted) < times:
            ready, _, _ = select.select([ours], [], [], PATIENCE)
            assert ready, said
            said += os.read(ours, 65_536)

    try:
        read_until(b"cht-sync local (embedded)", 3)
        up = said.count(b"\x1b[1A")
        assert up > 0, "it does not go back to where it began"
        watch.send_signal(number)
        read_until(b"\x1b[?25h", 1)
        assert watch.wait(PATIENCE) == INTERRUPTED
        assert b"Traceback" not in said
    finally:
        watch.kill()
        watch.wait()
        os.close(ours)
