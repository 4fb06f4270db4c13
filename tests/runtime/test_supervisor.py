"""The supervisor starts by readiness, keeps services running, stops in reverse, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import scripted_services
from scripted_services import Scripted
from waiting import eventually

from cht_sync import process
from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError, ServiceError
from cht_sync.process import ProcessId
from cht_sync.runtime import control, supervisor
from cht_sync.runtime import state as states
from cht_sync.runtime.service import Service
from cht_sync.runtime.state import EnvironmentState, ServiceState


class Supervised:
    """A supervisor in a thread of the test."""

    def __init__(self, folder: Path, services: Sequence[Service]) -> None:
        self.folder = folder
        self.stop = threading.Event()
        self.error: ChtSyncError | None = None
        self._supervisor = supervisor.Supervisor(
            Environment.LOCAL, services, folder, without=["superset"], given={"COUCHDB_PORT": "1"}
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._supervisor.run(self.stop)
        except ChtSyncError as error:
            self.error = error

    def state(self) -> EnvironmentState | None:
        return states.read(self.folder)

    def service(self, name: str) -> ServiceState:
        state = self.state()
        assert state is not None, self.error
        return next(one for one in state.services if one.name == name)

    def is_running(self) -> bool:
        state = self.state()
        return state is not None and state.phase == "running"

    def ended(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    def end(self) -> None:
        self.stop.set()
        self.ended()

    def journal(self) -> list[str]:
        path = self.folder / "journal"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def supervise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Supervised]]:
    monkeypatch.setattr(supervisor, "WATCH_EVERY", 0.02)
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.05)
    made: list[Supervised] = []

    def start(*services: Service) -> Supervised:
        made.append(Supervised(tmp_path, services))
        return made[-1]

    yield start
    for one in made:
        one.end()


def test_a_service_starts_once_the_one_before_is_ready_and_stops_before_it(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    first, second = Scripted("postgres", tmp_path, allowed=False), Scripted("couchdb", tmp_path)
    running = supervise(first, second)
    eventually(lambda: running.journal() == ["postgres started"])
    assert running.service("postgres").state == "starting"
    assert running.service("couchdb").state == "waiting"
    assert running.service("couchdb").pid is None

    first.allow()
    eventually(running.is_running)
    running.end()

    assert running.journal() == [
        "postgres started",
        "postgres ready",
        "couchdb started",
        "couchdb ready",
        "couchdb stopped",
        "postgres stopped",
    ]
    assert running.error is None
    assert running.state() is None


def test_what_runs_is_recorded(supervise: Callable[..., Supervised], tmp_path: Path) -> None:
    service = Scripted("couchdb", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        service.port = listener.getsockname()[1]
    service.words = listening(service.port)
    running = supervise(service)
    eventually(running.is_running)
    state = running.state()
    assert state is not None
    assert state.environment is Environment.LOCAL
    assert state.runtime == "embedded"
    assert state.supervisor == ProcessId.of(os.getpid())
    assert (state.without, state.given, state.failure) == (["superset"], {"COUCHDB_PORT": "1"}, None)
    recorded = running.service("couchdb")
    assert (recorded.state, recorded.port, recorded.doing, recorded.restarts) == (
        "running",
        service.port,
        "",
        0,
    )
    assert recorded.since > 0
    assert recorded.process is not None
    assert recorded.process.find() is not None


def listening(port: int) -> list[str]:
    """The words of a service that listens, and is ready then."""
    program = f"""
import pathlib, socket, time
listener = socket.create_server(("127.0.0.1", {port}))
pathlib.Path("couchdb.ready").touch()
time.sleep(600)
"""
    return [sys.executable, "-c", program]


def test_a_stranger_on_the_port_is_not_asked_and_not_taken_for_the_service(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    class Suspicious(Scripted):
        def ready(self) -> bool:
            raise AssertionError("a stranger was asked")

    with socket.create_server(("127.0.0.1", 0)) as stranger:
        service = Suspicious("couchdb", tmp_path)
        service.port = stranger.getsockname()[1]
        service.words = listening(service.port)
        running = supervise(service)
        running.ended()
    assert isinstance(running.error, ServiceError)
    assert "ended with exit code 1" in running.error.message
    assert any("Address already in use" in line for line in running.error.log_tail)


def test_a_disk_that_refuses_the_state_stops_nothing(
    supervise: Callable[..., Supervised], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Scripted("couchdb", tmp_path)
    running = supervise(service)
    eventually(running.is_running)
    refused = threading.Event()

    def refuse(*_arguments: object) -> None:
        refused.set()
        raise OSError(28, "No space left on device")

    written = states.write
    monkeypatch.setattr(states, "write", refuse)
    os.kill(running.service("couchdb").pid or 0, signal.SIGKILL)
    assert refused.wait(60)
    monkeypatch.setattr(states, "write", written)
    eventually(
        lambda: running.service("couchdb").restarts == 1 and running.service("couchdb").state == "running"
    )


def test_what_a_service_does_while_it_starts_is_recorded(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    service, proceed = Scripted("couchdb", tmp_path), threading.Event()
    service.meanwhile = lambda: assert_true(proceed.wait(60))
    running = supervise(service)
    eventually(lambda: running.state() is not None and running.service("couchdb").doing == "preparing")
    proceed.set()
    eventually(running.is_running)


def assert_true(value: bool) -> None:
    assert value


def test_a_service_that_dies_while_starting_ends_everything_and_says_why(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    dying = Scripted("couchdb", tmp_path, "echo one; echo cannot bind >&2; exit 3")
    running = supervise(Scripted("postgres", tmp_path), dying, Scripted("dbt", tmp_path))
    running.ended()

    assert isinstance(running.error, ServiceError)
    assert running.error.message == "couchdb: ended with exit code 3 while starting"
    assert running.error.log_tail == ("one", "cannot bind")
    assert running.error.hint == "The whole log: cht-sync logs couchdb"
    assert running.journal() == ["postgres started", "postgres ready", "postgres stopped"]
    state = running.state()
    assert state is not None
    assert state.phase == "failed"
    assert [one.state for one in state.services] == ["stopped", "failed", "stopped"]
    assert state.failure is not None
    assert state.failure.message == running.error.message
    assert state.failure.log_tail == ["one", "cannot bind"]
    assert state.leftovers() == []


def test_a_service_that_is_never_ready_ends_everything(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    service = Scripted("couchdb", tmp_path, allowed=False)
    service.start_timeout = 0.3
    running = supervise(service)
    running.ended()
    assert str(running.error) == "couchdb: was not ready after 0.3 s"
    state = running.state()
    assert state is not None
    assert state.leftovers() == []


def test_what_cannot_be_prepared_is_named_after_its_service(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    service = Scripted("couchdb", tmp_path)
    service.refusal = ChtSyncError("there is no Node.js here", hint="Install it.")
    running = supervise(service)
    running.ended()
    assert isinstance(running.error, ServiceError)
    assert (running.error.message, running.error.hint) == (
        "couchdb: there is no Node.js here",
        "Install it.",
    )
    assert running.journal() == []


def test_a_missing_program_is_named_after_its_service(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    service = Scripted("couchdb", tmp_path)
    service.words = ("no-such-program",)
    running = supervise(service)
    running.ended()
    assert str(running.error) == "couchdb: no-such-program: not found"


def test_a_stop_while_something_is_prepared_starts_nothing_more(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    preparing, proceed = threading.Event(), threading.Event()
    service = Scripted("couchdb", tmp_path)

    def meanwhile() -> None:
        preparing.set()
        assert proceed.wait(60)

    service.meanwhile = meanwhile
    running = supervise(Scripted("postgres", tmp_path), service, Scripted("dbt", tmp_path))
    assert preparing.wait(60)
    running.stop.set()
    proceed.set()
    running.ended()
    assert running.error is None
    assert running.journal() == ["postgres started", "postgres ready", "postgres stopped"]
    assert running.state() is None


def test_a_stop_while_a_service_is_not_ready_yet_stops_it(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    running = supervise(Scripted("couchdb", tmp_path, allowed=False), Scripted("dbt", tmp_path))
    eventually(lambda: running.journal() == ["couchdb started"])
    running.end()
    assert running.journal() == ["couchdb started", "couchdb stopped"]


def test_a_service_that_crashes_is_started_again(
    supervise: Callable[..., Supervised], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    service = Scripted("couchdb", tmp_path)
    running = supervise(Scripted("postgres", tmp_path), service)
    eventually(running.is_running)
    before, other = running.service("couchdb"), running.service("postgres")
    assert before.process is not None

    service.forbid()
    # The shell before what it waits for: else it might end by itself first.
    shell = psutil.Process(before.process.pid)
    for one in (shell, *shell.children()):
        one.kill()
    eventually(lambda: running.service("couchdb").pid != before.pid)
    assert running.service("couchdb").state == "restarting"
    assert running.service("couchdb").restarts == 1

    service.allow()
    eventually(lambda: running.service("couchdb").state == "running")
    told = [one.fields for one in caplog.records if hasattr(one, "fields")]
    [ended] = [one for one in told if one["event"] == "service_ended" and "restarts" in one]
    assert (ended["service"], ended["exit_code"], ended["restarts"]) == ("couchdb", -signal.SIGKILL, 1)
    assert ended["pause_seconds"] > 0
    [again] = [one for one in told if one["event"] == "service_ready" and "restarts" in one]
    assert again["service"] == "couchdb"
    assert running.service("postgres") == other
    running.end()
    assert running.journal()[-2:] == ["couchdb stopped", "postgres stopped"]


def test_a_service_that_cannot_be_started_again_is_tried_until_it_can(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    service = Scripted("couchdb", tmp_path)
    words = service.words
    running = supervise(service)
    eventually(running.is_running)
    before = running.service("couchdb")
    assert before.process is not None

    service.words = ("no-such-program",)
    process.kill(before.process)
    eventually(lambda: running.service("couchdb").restarts >= 2)
    assert running.service("couchdb").state == "restarting"

    service.words = words
    eventually(lambda: running.service("couchdb").state == "running")


def test_a_service_sees_no_variables_but_its_own_and_the_harmless_ones(
    supervise: Callable[..., Supervised], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "swordfish")
    running = supervise(Scripted("couchdb", tmp_path, 'env > seen; touch "$NAME.ready"; exec sleep 600'))
    eventually(running.is_running)
    seen = (tmp_path / "seen").read_text()
    assert "NAME=couchdb" in seen
    assert "PATH=" in seen
    assert "swordfish" not in seen


def test_a_large_log_is_put_aside_at_the_next_start(
    supervise: Callable[..., Supervised], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LARGEST_LOG", 10)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "couchdb.log").write_text("more than ten bytes\n")
    running = supervise(Scripted("couchdb", tmp_path))
    eventually(running.is_running)
    assert (tmp_path / "logs" / "couchdb.log.1").read_text() == "more than ten bytes\n"
    assert (tmp_path / "logs" / "couchdb.log").read_text() == ""


class Program:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, scripted_services.__file__, str(folder), *options],
            stdout=subprocess.DEVNULL,
            stderr=(folder / "supervisor.log").open("ab"),
        )

    def state(self) -> EnvironmentState:
        """What this supervisor, not one before it, has recorded."""
        found: list[EnvironmentState] = []

        def recorded() -> bool:
            assert self.process.poll() is None, (self.folder / "supervisor.log").read_text()
            state = states.read(self.folder)
            if state is None or state.supervisor_pid != self.process.pid or state.phase != "running":
                return False
            found.append(state)
            return True

        eventually(recorded)
        return found[-1]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    made: list[Program] = []
    services: list[ProcessId] = []

    def start(*options: str) -> Program:
        made.append(Program(tmp_path, *options))
        services.extend(made[-1].state().leftovers())
        return made[-1]

    yield start
    for one in made:
        with contextlib.suppress(ProcessLookupError):
            one.process.kill()
        one.process.wait()
    for identity in services:
        process.kill(identity)


def test_a_signal_stops_everything_in_order(program: Callable[..., Program], tmp_path: Path) -> None:
    running = program()
    services = running.state().leftovers()
    assert len(services) == 2
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait() == 0
    assert [identity.find() for identity in services] == [None, None]
    assert (tmp_path / "journal").read_text().splitlines()[-2:] == ["couchdb stopped", "postgres stopped"]
    assert states.read(tmp_path) is None


def test_a_second_signal_stops_everything_at_once(program: Callable[..., Program], tmp_path: Path) -> None:
    running = program("--deaf")
    services = running.state().leftovers()
    running.process.send_signal(signal.SIGTERM)

    def stopping() -> bool:
        state = states.read(tmp_path)
        return state is not None and state.phase == "stopping"

    eventually(stopping)
    running.process.send_signal(signal.SIGTERM)
    running.process.wait()
    assert [identity.find() for identity in services] == [None, None]
    assert states.read(tmp_path) is None


def test_the_next_start_stops_what_a_killed_supervisor_left_behind(
    program: Callable[..., Program], tmp_path: Path
) -> None:
    killed = program()
    leftovers = killed.state().leftovers()
    killed.process.kill()
    killed.process.wait()
    assert [identity.find() is not None for identity in leftovers] == [True, True]
    (tmp_path / "journal").unlink()

    after = program()
    assert [identity.find() for identity in leftovers] == [None, None]
    assert not set(after.state().leftovers()) & set(leftovers)
    assert (tmp_path / "journal").read_text().splitlines()[:3] == [
        "couchdb stopped",
        "postgres stopped",
        "postgres started",
    ]


def test_down_stops_what_a_killed_supervisor_left_behind(
    program: Callable[..., Program], tmp_path: Path
) -> None:
    killed = program()
    leftovers = killed.state().leftovers()
    killed.process.kill()
    killed.process.wait()

    assert control.running(tmp_path) is None
    assert control.down(tmp_path, volumes=None) == 2
    assert [identity.find() for identity in leftovers] == [None, None]
    assert states.read(tmp_path) is None
    assert control.down(tmp_path, volumes=None) == 0


def test_down_asks_a_living_supervisor_to_stop_in_order(
    program: Callable[..., Program], tmp_path: Path
) -> None:
    running = program()
    assert control.running(tmp_path) == running.state()
    assert control.down(tmp_path, volumes=None) == 2
    assert running.process.wait() == 0
    assert (tmp_path / "journal").read_text().splitlines()[-2:] == ["couchdb stopped", "postgres stopped"]


def test_down_with_volumes_deletes_what_one_environment_keeps(tmp_path: Path) -> None:
    for folder in ("local", "gamma", "logs", "couchdb-server"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("content")
    assert control.down(tmp_path, volumes=Environment.LOCAL) == 0
    left = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert left == {"gamma", "logs", "couchdb-server"}


def test_a_supervisor_beside_a_living_one_is_refused(program: Callable[..., Program], tmp_path: Path) -> None:
    running = program()
    second = subprocess.run(
        [sys.executable, scripted_services.__file__, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode != 0
    assert "another cht-sync runs in" in second.stderr
    assert len(running.state().leftovers()) == 2
