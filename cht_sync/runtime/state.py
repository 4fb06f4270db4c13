"""What `up` records, so that `down`, `status`, `logs` and the next `up` find it: `.cht-sync/state.json`."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.files import private_folder, write_atomically
from cht_sync.process import ProcessId

STATE_FILE = "state.json"
LOCK_FILE = "lock"
LOOK_EVERY = 0.05
"""Seconds between two tries to get the lock."""


class ServiceState(msgspec.Struct):
    """One service: `state` is waiting, starting, running, restarting, stopped or failed.

    `doing` is what it does while it starts; `since` is when it reached the state, in seconds since the
    epoch.
    """

    name: str
    state: str = "waiting"
    port: int | None = None
    since: float = 0.0
    doing: str = ""
    pid: int | None = None
    started: float = 0.0
    restarts: int = 0

    @property
    def process(self) -> ProcessId | None:
        """The recorded process, whether it still lives or not."""
        return ProcessId(self.pid, self.started) if self.pid is not None else None


class Failure(msgspec.Struct):
    """Why the environment did not start."""

    message: str
    hint: str | None = None
    log_tail: list[str] = []


class EnvironmentState(msgspec.Struct):
    """The whole environment: `phase` is starting, running, stopping or failed."""

    environment: Environment
    runtime: str
    supervisor_pid: int
    supervisor_started: float
    phase: str = "starting"
    services: list[ServiceState] = []
    without: list[str] = []
    given: dict[str, str] = {}
    """The settings that `up` was given, so that every other command means the same environment."""
    failure: Failure | None = None

    @property
    def supervisor(self) -> ProcessId:
        """The process that watches over the services."""
        return ProcessId(self.supervisor_pid, self.supervisor_started)

    def leftovers(self) -> Sequence[ProcessId]:
        """Every recorded process that still lives, the last started first."""
        recorded = [service.process for service in reversed(self.services)]
        return [process for process in recorded if process is not None and process.find() is not None]


def read(folder: Path) -> EnvironmentState | None:
    """Return what was recorded in the state folder; None where nothing was."""
    try:
        return msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=EnvironmentState)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ChtSyncError(
            f"{folder / STATE_FILE} cannot be read: {error}",
            hint="Delete that file if nothing runs any more.",
        ) from error


def write(folder: Path, state: EnvironmentState) -> None:
    """Record the state."""
    write_atomically(folder / STATE_FILE, msgspec.json.format(msgspec.json.encode(state)))


def forget(folder: Path) -> None:
    """Nothing runs any more."""
    (folder / STATE_FILE).unlink(missing_ok=True)


class Held(ChtSyncError):
    """Another process holds the environment."""


@contextmanager
def only_one(folder: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Hold the environment for one supervisor; raises Held when another still does after `patience` seconds.

    The kernel lets go when the holder dies, however it dies.
    """
    private_folder(folder)
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + patience
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise Held(
                    f"another cht-sync runs in {folder}",
                    hint="See it with: cht-sync status; end it with: cht-sync down",
                )
            time.sleep(LOOK_EVERY)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
