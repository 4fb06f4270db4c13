"""What the command line does to an environment from outside: start it, follow its start, stop it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cht_sync import process
from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError, ServiceError
from cht_sync.files import last_lines, private_folder
from cht_sync.process import ProcessId
from cht_sync.runtime import embedded
from cht_sync.runtime import state as states
from cht_sync.runtime.node import download_environment
from cht_sync.runtime.service import inherited_environment
from cht_sync.runtime.state import EnvironmentState, ServiceState
from cht_sync.runtime.supervisor import is_supervised, stop_leftovers
from cht_sync.settings import Settings, declared

LOOK_EVERY = 0.1
"""Seconds between two looks at the recorded state."""
STOP_PATIENCE = 90.0
"""Seconds that the supervisor gets to stop everything in order."""
LOCK_PATIENCE = 10.0
"""Seconds to wait for another command that is just starting something here."""


def running(folder: Path) -> EnvironmentState | None:
    """The environment that is running or starting; None where there is none."""
    state = states.read(folder)
    return state if state is not None and is_supervised(state) else None


class Supervision:
    """A supervisor that starts, runs or stops an environment; `own` says that this process started it."""

    def __init__(self, folder: Path, identity: ProcessId, *, own: subprocess.Popen[bytes] | None) -> None:
        self._folder = folder
        self._identity = identity
        self._process = own
        self.own = own is not None

    def follow(
        self, stop: threading.Event, show: Callable[[EnvironmentState], None]
    ) -> EnvironmentState | None:
        """Call `show` with each recorded state until the environment runs; None when `stop` comes first.

        Raises ChtSyncError when it does not start.
        """
        while not stop.wait(LOOK_EVERY):
            ended = self.ended
            state = states.read(self._folder)
            ours = state is not None and state.supervisor == self._identity
            if state is not None and ours:
                show(state)
                if state.phase == "running":
                    return state
            if ended:
                raise self._failed(state if ours else None)
        return None

    def wait_until_ended(self, stop: threading.Event) -> bool:
        """Wait for the supervisor's end; False when `stop` comes first."""
        while not self.ended:
            if stop.wait(LOOK_EVERY):
                return False
        return True

    def stop(self) -> None:
        """Stop everything in order."""
        process.stop(self._identity, patience=STOP_PATIENCE)
        self._reap()

    def kill(self) -> None:
        """Stop everything at once."""
        state = states.read(self._folder)
        process.kill(self._identity)
        for identity in state.leftovers() if state is not None else ():
            process.kill(identity)
        states.forget(self._folder)
        self._reap()

    @property
    def ended(self) -> bool:
        """Whether the supervisor is gone."""
        return self._identity.find() is None

    def _reap(self) -> None:
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1)

    def _failed(self, state: EnvironmentState | None) -> ChtSyncError:
        if state is None:
            return ChtSyncError("it was stopped while it started", hint="See: cht-sync logs supervisor")
        if state.failure is None:
            return ServiceError(
                "supervisor",
                "ended unexpectedly",
                log_tail=last_lines(self._folder / "logs" / "supervisor.log"),
            )
        failure = state.failure
        service, _colon, message = failure.message.partition(": ")
        return ServiceError(service, message, log_tail=failure.log_tail, hint=failure.hint)


def supervision(folder: Path, state: EnvironmentState) -> Supervision:
    """The supervisor that somebody else has started."""
    return Supervision(folder, state.supervisor, own=None)


def launch(settings: Settings, *, without: Sequence[str]) -> Supervision:
    """Start a supervisor, or find the one that somebody has started at the same moment.

    Raises ChtSyncError, with nothing started, for what cannot start.
    """
    folder = private_folder(settings.state_folder)
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        already = running(folder)
        if already is not None:
            return supervision(folder, already)
        try:
            with states.only_one(folder):
                return _launch(settings, folder, without)
        except states.Held:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK_EVERY)


def _launch(settings: Settings, folder: Path, without: Sequence[str]) -> Supervision:
    # Refused here, what cannot start is one clear line; the supervisor plans again for itself.
    planned_settings, planned = embedded.plan(settings, without)
    log_file = private_folder(folder / "logs") / "supervisor.log"
    command = [sys.executable, "-m", "cht_sync", "supervise", "--env", settings.environment.value]
    for service in without:
        command += ["--without", service]
    started = process.start(
        command, log=log_file, env={**_passed_on(), "CHT_SYNC_HOME": str(settings.home)}, cwd=settings.home
    )
    identity = ProcessId.of(started.pid)
    # Recorded for it, so that `down` finds it from the first moment.
    states.write(
        folder,
        EnvironmentState(
            environment=settings.environment,
            runtime="embedded",
            supervisor_pid=identity.pid,
            supervisor_started=identity.started,
            services=[ServiceState(service.name, port=service.port) for service in planned],
            without=list(without),
            given=dict(planned_settings.given),
        ),
    )
    return Supervision(folder, identity, own=started)


def down(folder: Path, *, volumes: Environment | None) -> int:
    """Stop the recorded environment, also what a killed one left behind; return how many processes.

    The data and the secrets of the environment `volumes` are deleted.
    """
    state = states.read(folder)
    stopped = 0
    if state is not None:
        stopped = len(state.leftovers())
        process.stop(state.supervisor, patience=STOP_PATIENCE)
        stop_leftovers(state)
        states.forget(folder)
    if volumes is not None and folder.exists():
        with states.only_one(folder, patience=LOCK_PATIENCE):
            shutil.rmtree(folder / volumes.value, ignore_errors=True)
    return stopped


def follow_logs(
    paths: Sequence[Path],
    stop: threading.Event,
    show: Callable[[str, str], None],
    *,
    follow: bool,
    lines: int,
) -> None:
    """Call `show(service, line)` for the last lines of each log, then for each new one while `follow`."""
    ends: dict[Path, int] = {}
    for path in paths:
        ends[path] = path.stat().st_size if path.exists() else 0
        for line in last_lines(path, lines, at_most_bytes=1 << 20):
            show(path.stem, line)
    while follow and not stop.wait(0.3):
        for path in paths:
            size = path.stat().st_size if path.exists() else 0
            if size < ends[path]:
                ends[path] = 0  # put aside at a restart
            if size > ends[path]:
                with path.open("rb") as file:
                    file.seek(ends[path])
                    new = file.read(size - ends[path])
                complete = new.rfind(b"\n") + 1
                ends[path] += complete
                for line in new[:complete].decode(errors="replace").splitlines():
                    show(path.stem, line)


def elapsed(since: float) -> str:
    """How long ago a moment (seconds since the epoch) was, in words."""
    seconds = max(0, int(time.time() - since))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def _passed_on() -> dict[str, str]:
    """What the supervisor gets of our environment: the settings, and what programs need to run at all."""
    names = {name for name, _variable in declared()} | {"COUCHDB_DB", "VIRTUAL_ENV"}
    given = {name: value for name, value in os.environ.items() if name in names}
    return {**inherited_environment(), **download_environment(), **given}
