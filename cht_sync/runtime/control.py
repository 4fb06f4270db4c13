"""What the command line does to an environment from outside: start it, follow its start, stop it."""

from __future__ import annotations

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
from cht_sync.errors import ChtSyncError, ServiceError, SettingsError
from cht_sync.files import last_lines, private_folder
from cht_sync.process import ProcessId
from cht_sync.runtime import embedded
from cht_sync.runtime import state as states
from cht_sync.runtime.service import inherited_environment
from cht_sync.runtime.state import EnvironmentState
from cht_sync.runtime.supervisor import is_supervised, stop_leftovers
from cht_sync.settings import declared

LOOK_EVERY = 0.1
"""Seconds between two looks at the recorded state."""
STOP_PATIENCE = 90.0
"""Seconds that the supervisor gets to stop everything in order."""
DATA = ("postgres", "couchdb", "logstash", "dbt", "secrets.json", "pgpass", "netrc", "state.json")
"""What `down --volumes` deletes of the state folder; installed packages and logs stay."""


def choose_runtime(wanted: str) -> tuple[str, str]:
    """Return the runtime for `auto`, `docker` or `embedded`, and why. Raises SettingsError."""
    if wanted == "docker":
        raise SettingsError(
            ["--runtime docker is not part of this version"],
            hint="Use --runtime embedded: no Docker is needed.",
        )
    if wanted == "auto":
        return "embedded", "this version runs all services as local processes"
    return "embedded", "as asked for"


def running(folder: Path) -> EnvironmentState | None:
    """The environment that is running or starting; None where there is none."""
    state = states.read(folder)
    return state if state is not None and is_supervised(state) else None


class Launch:
    """A supervisor in a process of its own, and what it has recorded so far."""

    def __init__(self, environment: Environment, *, without: Sequence[str], home: Path) -> None:
        settings = embedded.load_settings(environment, home=home)
        self._folder = private_folder(settings.state_folder)
        with states.only_one(self._folder):
            # Refused here, what cannot start is one clear line; the supervisor plans again for itself.
            embedded.plan(settings, without)
        self._log = private_folder(self._folder / "logs") / "supervisor.log"
        command = [sys.executable, "-m", "cht_sync", "supervise", "--env", environment.value]
        for service in without:
            command += ["--without", service]
        self._process = process.start(
            command, log=self._log, env={**_passed_on(), "CHT_SYNC_HOME": str(home)}, cwd=home
        )
        self._identity = ProcessId.of(self._process.pid)

    def follow(
        self, stop: threading.Event, show: Callable[[EnvironmentState], None]
    ) -> EnvironmentState | None:
        """Call `show` with each recorded state until the environment runs; None when `stop` comes first.

        Raises ServiceError when it does not start.
        """
        while not stop.wait(LOOK_EVERY):
            ended = self._process.poll() is not None
            state = states.read(self._folder)
            ours = state is not None and state.supervisor == self._identity
            if state is not None and ours:
                show(state)
                if state.phase == "running":
                    return state
            if ended:
                raise self._failed(state if ours else None)
        return None

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
        return self._process.poll() is not None

    def _reap(self) -> None:
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return

    def _failed(self, state: EnvironmentState | None) -> ChtSyncError:
        if state is not None and state.failure is not None:
            failure = state.failure
            service, _colon, message = failure.message.partition(": ")
            return ServiceError(service, message, log_tail=failure.log_tail, hint=failure.hint)
        return ServiceError("supervisor", "ended before anything was started", log_tail=last_lines(self._log))


def down(folder: Path, *, volumes: bool) -> int:
    """Stop the recorded environment, also what a killed one left behind; return how many processes.

    With `volumes`, its data and its secrets are deleted.
    """
    state = states.read(folder)
    stopped = 0
    if state is not None:
        stopped = len(state.leftovers())
        process.stop(state.supervisor, patience=STOP_PATIENCE)
        stop_leftovers(state)
        states.forget(folder)
    if volumes:
        for name in DATA:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
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
    names = {name for name, _variable in declared()} | {"COUCHDB_DB", "VIRTUAL_ENV", "NODE_EXTRA_CA_CERTS"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in names or name.lower().startswith("npm_config_") or name.lower().endswith("_proxy")
    }
    return {**inherited_environment(), **kept}
