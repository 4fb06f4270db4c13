"""Processes: run to an end, started apart, found again by id and start time, stopped with their children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from waiting import eventually

from cht_sync import process
from cht_sync.errors import ChtSyncError
from cht_sync.process import ProcessId

SLEEPER = ["sleep", "600"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)",
]
PARENT = ["sh", "-c", "sleep 600 & echo $!; wait"]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[list[str]], subprocess.Popen[bytes]]]:
    children: list[subprocess.Popen[bytes]] = []

    def start(command: list[str]) -> subprocess.Popen[bytes]:
        children.append(process.start(command, log=tmp_path / "child.log"))
        return children[-1]

    yield start
    for child in children:
        if child.poll() is None:
            process.kill(ProcessId.of(child.pid))
        child.wait()


def test_a_command_returns_its_output_and_gets_its_input(tmp_path: Path) -> None:
    assert process.run(["sh", "-c", "cat; pwd"], stdin="hello\n", cwd=tmp_path) == f"hello\n{tmp_path}\n"


def test_a_command_without_input_sees_its_end_at_once() -> None:
    assert process.run(["cat"]) == ""


def test_a_command_has_only_the_environment_that_it_was_given() -> None:
    assert process.run(["/usr/bin/env"], env={"ONLY": "this"}) == "ONLY=this\n"


def test_a_failed_command_says_its_name_its_last_words_and_none_of_its_arguments() -> None:
    with pytest.raises(ChtSyncError) as failure:
        process.run(["sh", "-c", "echo no such table >&2; exit 3", "password=swordfish"])
    assert failure.value.message == "sh ended with exit code 3: no such table"


def test_a_failed_command_that_wrote_no_errors_is_known_by_its_output() -> None:
    with pytest.raises(ChtSyncError, match="sh ended with exit code 1: on standard output"):
        process.run(["sh", "-c", "echo on standard output; exit 1"])


def test_a_missing_command_is_named_with_what_to_do() -> None:
    with pytest.raises(ChtSyncError, match="no-such-program: not found") as failure:
        process.run(["no-such-program"])
    assert failure.value.hint == "install no-such-program, or put it on PATH"


def test_a_file_that_is_no_program_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o644)
    with pytest.raises(ChtSyncError, match="text: cannot be started: Permission denied"):
        process.run([tmp_path / "text"])
    with pytest.raises(ChtSyncError, match="text: cannot be started: Permission denied"):
        process.start([tmp_path / "text"], log=tmp_path / "log")


def test_a_missing_folder_is_not_blamed_on_the_command(tmp_path: Path) -> None:
    for attempt in (
        lambda: process.run(["true"], cwd=tmp_path / "none"),
        lambda: process.start(["true"], log=tmp_path / "log", cwd=tmp_path / "none"),
    ):
        with pytest.raises(ChtSyncError, match=r"true: there is no folder .*none"):
            attempt()


def test_a_command_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "child"
    with pytest.raises(ChtSyncError, match=r"sh: no end after 0\.3 s"):
        process.run(["sh", "-c", f"sleep 600 & echo $! > {note}; wait"], timeout=0.3)
    assert not psutil.pid_exists(int(note.read_text())) or _is_zombie(int(note.read_text()))


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_started_process_appends_to_a_log_that_only_its_owner_may_read(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    for word in ("first", "second"):
        process.start(["sh", "-c", f"echo {word}; echo {word} error >&2"], log=log).wait()
    assert log.read_text() == "first\nfirst error\nsecond\nsecond error\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_started_process_has_a_session_of_its_own(
    started: Callable[[list[str]], subprocess.Popen[bytes]],
) -> None:
    child = started(SLEEPER)
    assert os.getsid(child.pid) == child.pid


def test_a_process_is_found_again_by_id_and_start_time(
    started: Callable[[list[str]], subprocess.Popen[bytes]],
) -> None:
    child = started(SLEEPER)
    identity = ProcessId.of(child.pid)
    found = identity.find()
    assert found is not None
    assert found.pid == child.pid


def test_a_reused_process_id_is_never_signalled(
    started: Callable[[list[str]], subprocess.Popen[bytes]],
) -> None:
    child = started(SLEEPER)
    somebody_else = ProcessId(child.pid, ProcessId.of(child.pid).started - 60)
    assert somebody_else.find() is None
    process.stop(somebody_else)
    process.kill(somebody_else)
    assert child.poll() is None


def test_a_process_that_ended_but_was_not_waited_for_is_not_found(
    started: Callable[[list[str]], subprocess.Popen[bytes]],
) -> None:
    child = started(SLEEPER)
    identity = ProcessId.of(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    eventually(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert identity.find() is None


def test_stopping_asks_with_the_signal_of_the_service(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    child = process.start(
        ["sh", "-c", "trap 'echo asked; kill $!; exit 0' INT; sleep 600 & echo ready; wait"], log=log
    )
    eventually(lambda: "ready" in log.read_text())
    process.stop(ProcessId.of(child.pid), ask=signal.SIGINT)
    child.wait()
    assert log.read_text() == "ready\nasked\n"


def test_a_process_that_does_not_listen_is_killed_in_the_end(
    started: Callable[[list[str]], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    child = started(STUBBORN)
    eventually(lambda: "deaf" in (tmp_path / "child.log").read_text())
    identity = ProcessId.of(child.pid)
    process.stop(identity, patience=0.1)
    assert identity.find() is None


@pytest.mark.parametrize("end", [process.kill, lambda identity: process.stop(identity, patience=0.1)])
def test_the_children_of_a_process_end_with_it(
    end: Callable[[ProcessId], None],
    started: Callable[[list[str]], subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    parent = started(PARENT)
    eventually(lambda: (tmp_path / "child.log").read_text().endswith("\n"))
    child = ProcessId.of(int((tmp_path / "child.log").read_text()))
    end(ProcessId.of(parent.pid))
    assert child.find() is None


def test_stopping_what_is_gone_does_nothing(
    started: Callable[[list[str]], subprocess.Popen[bytes]],
) -> None:
    child = started(["true"])
    identity = ProcessId.of(child.pid)
    child.wait()
    process.stop(identity)
    process.kill(identity)


def test_the_process_of_another_user_is_named_instead_of_a_traceback(
    started: Callable[[list[str]], subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = started(SLEEPER)

    def refuse(self: psutil.Process, *_arguments: object) -> None:
        raise psutil.AccessDenied(self.pid)

    with monkeypatch.context() as injected:
        injected.setattr(psutil.Process, "send_signal", refuse)
        injected.setattr(psutil.Process, "kill", refuse)
        for end in (process.stop, process.kill):
            with pytest.raises(ChtSyncError, match=f"process {child.pid} belongs to another user"):
                end(ProcessId.of(child.pid))


def test_a_process_is_found_again_after_the_clock_was_set(
    started: Callable[[list[str]], subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = started(SLEEPER)
    identity = ProcessId.of(child.pid)
    boot, create = psutil.boot_time, psutil.Process.create_time
    # Linux keeps the start as a time since boot; the time of the boot moves with the clock.
    monkeypatch.setattr(psutil, "boot_time", lambda: boot() + 3600)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create(self) + 3600)
    assert identity.find() is not None
    assert ProcessId.of(child.pid).started == pytest.approx(identity.started)
