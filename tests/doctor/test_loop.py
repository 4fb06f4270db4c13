"""A dbt loop that lives and does nothing is found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from free_ports import free_port

from cht_sync import health
from cht_sync.environments import SERVICES, Environment
from cht_sync.health import Health
from cht_sync.metrics_server import serving
from cht_sync.runtime import dbt as runtime_dbt
from cht_sync.runtime.doctor import dbt
from cht_sync.runtime.doctor.examine import Examined, run
from cht_sync.runtime.doctor.finding import Result
from cht_sync.runtime.doctor.situation import Situation
from cht_sync.settings import load
from cht_sync.transform.metrics import Metrics

HOST = "127.0.0.1"
LOOP = """
import signal, sys
from cht_sync.health import Health
from cht_sync.transform.metrics import Metrics
from cht_sync.metrics_server import serving
with serving("127.0.0.1", int(sys.argv[1]), Metrics(), Health(), setting="DBT_METRICS_PORT"):
    print("serves", flush=True)
    signal.pause()
"""


def asked(home: Path, port: int, *, runtime: str = "embedded", state: str = "running") -> Examined:
    """What is found where the loop's port is this one."""
    settings = load(Environment.LOCAL, home=home, environ={}, read_file=False)
    states = {"dbt": {"state": state, "address": f"{HOST}:{port}"}}
    services = SERVICES[Environment.LOCAL]
    situation = Situation(Environment.LOCAL, home, runtime, settings, services=services, states=states)
    (one,) = run([check for check in dbt.CHECKS if check.name == "dbt-loop"], situation)
    return one


@pytest.fixture
def loop() -> Iterator[tuple[int, int]]:
    """The process id of one that serves, and its port."""
    port = free_port()
    command = [sys.executable, "-c", LOOP, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "serves\n"
            yield process.pid, port
        finally:
            process.kill()


def test_a_loop_that_was_stopped_by_a_signal_is_found_and_one_that_goes_on_is_well(
    loop: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_dbt, "HEALTH_TIMEOUT", 0.5)
    pid, port = loop
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    found = asked(tmp_path, port)
    assert (found.result, found.message) == (
        Result.FAILED,
        f"the loop does not answer at {HOST}:{port} (ReadTimeout)",
    )
    assert found.remedy == "See: cht-sync logs dbt. Start it again: cht-sync down, cht-sync up"
    os.kill(pid, signal.SIGCONT)
    monkeypatch.setattr(runtime_dbt, "HEALTH_TIMEOUT", 30.0)
    assert asked(tmp_path, port).result is Result.OK


def test_a_loop_that_is_unwell_is_found_with_its_reason(tmp_path: Path) -> None:
    now = [0.0]
    unwell = Health(lambda: now[0])
    now[0] = health.SILENT_AFTER + 1
    port = free_port()
    with serving(HOST, port, Metrics(), unwell, setting="DBT_METRICS_PORT"):
        found = asked(tmp_path, port)
    assert (found.result, found.message) == (
        Result.FAILED,
        "the loop is unwell: the loop has stood still for 61 s",
    )


def test_where_nothing_listens_the_loop_has_failed(tmp_path: Path) -> None:
    assert asked(tmp_path, free_port()).message.endswith("(ConnectionError)")


def test_a_loop_that_does_not_run_or_is_in_a_container_is_not_asked(tmp_path: Path) -> None:
    assert asked(tmp_path, free_port(), state="stopped").message == "dbt is not running"
    assert asked(tmp_path, free_port(), runtime="docker").result is Result.SKIPPED
