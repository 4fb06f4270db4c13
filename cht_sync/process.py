"""The only door to subprocesses.

A process is remembered by its id *and* its start time, so that a number that the system gave to
somebody else in the meantime is never signalled. Stopping asks, waits, then kills the whole family.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from cht_sync.errors import ChtSyncError
from cht_sync.files import OWNER_ONLY_FILE

START_TIME_TOLERANCE = 0.02
"""Seconds; the start time passes through a text file and loses some digits."""
LOOK_EVERY = 0.02
"""Seconds between two looks whether a process has ended."""
KILL_TIMEOUT = 5.0
"""Seconds that the kernel gets to remove a killed process."""


@dataclass(frozen=True)
class ProcessId:
    """A process that can be found again, even after its parent is gone.

    `started` is in seconds after the machine's boot: the time of day would change when the clock is set.
    """

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Identify a living process; raises psutil.NoSuchProcess."""
        return cls(pid, _started(psutil.Process(pid)))

    def find(self) -> psutil.Process | None:
        """Return the process if it still is the same one and no zombie."""
        try:
            process = psutil.Process(self.pid)
            if abs(_started(process) - self.started) > START_TIME_TOLERANCE:
                return None
            return process if _lives(process) else None
        except psutil.NoSuchProcess:
            return None


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> str:
    """Run a command to its end and return its standard output.

    Raises ChtSyncError with the command's name and the end of what it said when it fails, cannot be
    started or takes longer than `timeout` seconds; it is killed then, with every child it had.
    Arguments never appear in the message.
    """
    name = Path(command[0]).name
    try:
        running = subprocess.Popen(
            [*_tied_to_us(command[0]), *(str(part) for part in command)],
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise _not_started(name, cwd, error) from error
    with running:
        try:
            output, errors = running.communicate(stdin, timeout=timeout)
        except BaseException as error:
            with contextlib.suppress(psutil.NoSuchProcess):
                kill(ProcessId.of(running.pid))
            if isinstance(error, subprocess.TimeoutExpired):
                raise ChtSyncError(f"{name}: no end after {timeout:g} s") from error
            raise
    if running.returncode != 0:
        said = (errors.strip() or output.strip()).splitlines()[-8:]
        raise ChtSyncError(f"{name} ended with exit code {running.returncode}: " + "\n".join(said))
    return output


def start(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, its output appended to `log` (mode 600).

    A session of its own, so that Ctrl-C in the terminal reaches only the one who stops in order.
    Raises ChtSyncError when it cannot be started.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, OWNER_ONLY_FILE)
    try:
        return subprocess.Popen(
            [str(part) for part in command],
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    except OSError as error:
        raise _not_started(Path(command[0]).name, cwd, error) from error
    finally:
        os.close(descriptor)


def stop(identity: ProcessId, *, ask: signal.Signals = signal.SIGTERM, patience: float = 10.0) -> None:
    """Ask a process to end; after `patience` seconds kill it and every child it has or had.

    Raises ChtSyncError when the process is another user's.
    """
    process = identity.find()
    if process is None:
        return
    family = {process, *_children(process)}
    try:
        process.send_signal(ask)
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied as error:
        raise _of_another_user(process) from error
    _kill({*_wait(family, patience), *_children(process)})


def kill(identity: ProcessId) -> None:
    """Kill a process and its children at once. Raises ChtSyncError when it is another user's."""
    process = identity.find()
    if process is not None:
        _kill({process, *_children(process)})


def listens(identity: ProcessId, port: int) -> bool:
    """Whether the process, or a child of it, listens on a TCP port."""
    process = identity.find()
    if process is None:
        return False
    for one in (process, *_children(process)):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            for connection in one.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return True
    return False


def _tied_to_us(program: str | Path) -> list[str]:
    """Words before a command that let it die with us, however we die; none for a program that is missing."""
    found = shutil.which("setpriv") and shutil.which(str(program))
    return ["setpriv", "--pdeathsig", "KILL", "--"] if found else []


def _started(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(processes: Collection[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied as error:
            raise _of_another_user(process) from error
    _wait(processes, KILL_TIMEOUT)


def _wait(processes: Collection[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended; return those that have not.

    A zombie has ended: an orphan's new parent may take its time, or in a container never collect it.
    """
    deadline = time.monotonic() + seconds
    while alive := [process for process in processes if _lives(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(LOOK_EVERY)
    return alive


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _not_started(name: str, cwd: Path | None, error: OSError) -> ChtSyncError:
    if cwd is not None and not cwd.is_dir():
        return ChtSyncError(f"{name}: there is no folder {cwd} to start it in")
    if isinstance(error, FileNotFoundError):
        return ChtSyncError(f"{name}: not found", hint=f"install {name}, or put it on PATH")
    return ChtSyncError(f"{name}: cannot be started: {error.strerror}")


def _of_another_user(process: psutil.Process) -> ChtSyncError:
    return ChtSyncError(
        f"process {process.pid} belongs to another user", hint="Do this as the user who started it."
    )
