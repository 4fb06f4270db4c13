"""Starts the services one after another, each when the one before is ready; keeps them running; stops
them in the reverse order.

What it does is in `state.json` at every moment, and a process as soon as it has an id, so that whoever
looks, and whoever must clean up after a killed supervisor, finds every process.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cht_sync import process
from cht_sync.backoff import delays
from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError, ServiceError
from cht_sync.files import last_lines, private_folder
from cht_sync.logs import fields
from cht_sync.process import ProcessId
from cht_sync.runtime import state as states
from cht_sync.runtime.service import Service, inherited_environment
from cht_sync.runtime.state import EnvironmentState, Failure, ServiceState

log = logging.getLogger(__name__)

LOOK_EVERY = 0.05
"""Seconds between two looks whether a starting service is ready."""
WATCH_EVERY = 0.5
"""Seconds between two looks whether the running ones still run."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a service that ended is started again; doubled each time."""
HEALTHY_AFTER = 30.0
"""Seconds after which a restarted service counts as well again."""
LARGEST_LOG = 10 << 20
"""Bytes; a larger log is put aside at the next start of its service."""


@dataclass
class _Running:
    service: Service
    state: ServiceState
    process: subprocess.Popen[bytes] | None = None
    restart_at: float = 0.0


class Supervisor:
    """Runs `services` until told to stop."""

    def __init__(
        self,
        environment: Environment,
        services: Sequence[Service],
        folder: Path,
        *,
        without: Sequence[str],
        given: Mapping[str, str],
    ) -> None:
        self._folder = folder
        self._logs = private_folder(folder / "logs")
        self._recorded = True
        own = ProcessId.of(os.getpid())
        self._running = [_Running(one, ServiceState(one.name, port=one.port)) for one in services]
        self._state = EnvironmentState(
            environment=environment,
            runtime="embedded",
            supervisor_pid=own.pid,
            supervisor_started=own.started,
            services=[one.state for one in self._running],
            without=list(without),
            given=dict(given),
        )

    def run(self, stop: threading.Event) -> None:
        """Start everything, watch over it until `stop`, stop everything.

        Raises ServiceError when a service cannot start or does not become ready; all others are stopped
        by then.
        """
        self._record()
        try:
            for one in self._running:
                self._start(one, stop)
                if stop.is_set():
                    return
            self._state.phase = "running"
            self._record()
            log.info(
                "%s is running",
                self._state.environment,
                extra=fields(event="environment_running", environment=str(self._state.environment)),
            )
            self._watch(stop)
        except ServiceError as error:
            self._state.failure = Failure(error.message, error.hint, list(error.log_tail))
            raise
        finally:
            self._stop_all()

    def _start(self, one: _Running, stop: threading.Event) -> None:
        try:
            self._bring_up(one, stop)
        except ChtSyncError as error:
            self._change(one, "failed")
            if isinstance(error, ServiceError):
                raise
            raise ServiceError(one.service.name, error.message, hint=error.hint) from error

    def _bring_up(self, one: _Running, stop: threading.Event) -> None:
        service = one.service
        log.info("%s: starting", service.name, extra=fields(event="service_starting", service=service.name))
        began = time.monotonic()
        self._change(one, "starting")
        service.prepare(lambda text: self._change(one, "starting", text))
        if stop.is_set():
            return
        self._spawn(one)
        self._wait_until_ready(one, stop)
        if stop.is_set():
            return
        service.after_start(lambda text: self._change(one, "starting", text))
        log.info(
            "%s: ready",
            service.name,
            extra=fields(
                event="service_ready", service=service.name, duration_seconds=time.monotonic() - began
            ),
        )
        self._change(one, "running")

    def _spawn(self, one: _Running) -> None:
        service = one.service
        log_file = self._log_file(service)
        if log_file.exists() and log_file.stat().st_size > LARGEST_LOG:
            log_file.replace(log_file.with_suffix(".log.1"))
        one.process = process.start(
            service.command(),
            log=log_file,
            env={**inherited_environment(), "PYTHONUNBUFFERED": "1", **service.environment()},
            cwd=service.work_folder(),
        )
        identity = ProcessId.of(one.process.pid)
        one.state.pid, one.state.started = identity.pid, identity.started
        self._record()

    def _wait_until_ready(self, one: _Running, stop: threading.Event) -> None:
        deadline = time.monotonic() + one.service.start_timeout
        while not stop.is_set():
            if one.process is not None and one.process.poll() is not None:
                if one.service.ends and one.process.returncode == 0:
                    return
                raise self._failure(one, f"ended with exit code {one.process.returncode} while starting")
            if self._is_ready(one):
                return
            if time.monotonic() > deadline:
                raise self._failure(one, f"was not ready after {one.service.start_timeout:g} s")
            stop.wait(LOOK_EVERY)

    def _is_ready(self, one: _Running) -> bool:
        # First, since a stranger on that port must not be asked, nor told a password.
        port, identity = one.service.port, one.state.process
        if port is not None and (identity is None or not process.listens(identity, port)):
            return False
        return one.service.ready()

    def _watch(self, stop: threading.Event) -> None:
        waits = {one.service.name: delays(first=FIRST_PAUSE, most=LONGEST_PAUSE) for one in self._running}
        while not stop.wait(WATCH_EVERY):
            if not self._recorded:
                self._record()
            for one in list(self._running):
                name, recorded = one.service.name, one.state
                if one.service.ends and one.process is not None and one.process.poll() == 0:
                    self._is_done(one)
                elif one.process is not None and one.process.poll() is not None:
                    code = one.process.returncode
                    self._restart_later(one, f"ended with exit code {code}", waits[name], code)
                elif one.process is None and time.monotonic() >= one.restart_at:
                    try:
                        self._spawn(one)
                    except (ChtSyncError, OSError) as error:
                        self._restart_later(one, f"could not be started: {error}", waits[name])
                elif recorded.state == "restarting" and one.process is not None and self._is_ready(one):
                    log.info(
                        "%s: ready again",
                        name,
                        extra=fields(
                            event="service_ready",
                            service=name,
                            restarts=recorded.restarts,
                            duration_seconds=time.time() - recorded.since,
                        ),
                    )
                    self._change(one, "running")
                elif recorded.state == "running" and time.time() - recorded.since > HEALTHY_AFTER:
                    waits[name] = delays(first=FIRST_PAUSE, most=LONGEST_PAUSE)

    def _is_done(self, one: _Running) -> None:
        extra = fields(event="service_ended", service=one.service.name, exit_code=0)
        log.info("%s: has done its work", one.service.name, extra=extra)
        self._running.remove(one)
        self._state.services.remove(one.state)
        self._record()

    def _restart_later(
        self, one: _Running, what: str, waits: Iterator[float], exit_code: int | None = None
    ) -> None:
        pause = next(waits)
        one.process, one.restart_at = None, time.monotonic() + pause
        one.state.restarts += 1
        log.warning(
            "%s %s; it is started again in %.0f s",
            one.service.name,
            what,
            pause,
            extra=fields(
                event="service_ended",
                service=one.service.name,
                exit_code=exit_code,
                error=what,
                restarts=one.state.restarts,
                pause_seconds=pause,
            ),
        )
        self._change(one, "restarting")

    def _stop_all(self) -> None:
        """Stop in the reverse order; at once where a second signal comes meanwhile."""
        self._state.phase = "stopping"
        try:
            self._record()
            for one in reversed(self._running):
                self._stop(one)
        except KeyboardInterrupt:
            for one in reversed(self._running):
                if one.state.process is not None:
                    process.kill(one.state.process)
            states.forget(self._folder)
            raise
        if self._state.failure is None:
            states.forget(self._folder)
        else:
            self._state.phase = "failed"
            self._record()

    def _stop(self, one: _Running) -> None:
        identity = one.state.process
        if identity is not None:
            name = one.service.name
            log.info("%s: stopping", name, extra=fields(event="service_stopping", service=name))
            process.stop(identity, ask=one.service.stop_signal, patience=one.service.patience)
            if one.process is not None:
                code = one.process.wait()
                extra = fields(event="service_ended", service=name, exit_code=code)
                log.info("%s: ended with exit code %d", name, code, extra=extra)
        if one.state.state != "failed":
            self._change(one, "stopped")

    def _failure(self, one: _Running, what: str) -> ServiceError:
        log_file = self._log_file(one.service)
        return ServiceError(
            one.service.name,
            what,
            log_tail=last_lines(log_file),
            hint=f"The whole log: cht-sync logs {one.service.name}",
        )

    def _change(self, one: _Running, state: str, doing: str = "") -> None:
        if one.state.state != state:
            one.state.state, one.state.since = state, time.time()
        one.state.doing = doing
        self._record()

    def _record(self) -> None:
        try:
            states.write(self._folder, self._state)
            self._recorded = True
        except OSError as error:
            # A full disk must not end the one who keeps everything running; tried again at the next look.
            if self._recorded:
                log.error("the state cannot be recorded: %s", error)
            self._recorded = False

    def _log_file(self, service: Service) -> Path:
        return self._logs / f"{service.name}.log"


def stop_leftovers(state: EnvironmentState) -> int:
    """Stop what a killed supervisor left behind; return how many processes that were."""
    leftovers = state.leftovers()
    for identity in leftovers:
        process.stop(identity, patience=30.0)
    return len(leftovers)


def is_supervised(state: EnvironmentState) -> bool:
    """Whether the supervisor that wrote the state still lives."""
    return state.supervisor.find() is not None
