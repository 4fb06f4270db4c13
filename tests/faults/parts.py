"""The parts of the chain as processes that can be killed, each started as the product starts it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import requests
from couchdb_fixture import installed_server
from waiting import eventually

from cht_sync import process
from cht_sync.runtime.service import Service, inherited_environment

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
"""Of Debian's package libfaketime; None where that is not installed."""


class Part:
    """A service, one process after another. `environment` is read anew at each start."""

    def __init__(
        self,
        service: Service,
        folder: Path,
        environment: Callable[[], Mapping[str, str]] | None = None,
        *words: str,
    ) -> None:
        self.name = service.name
        self.service = service
        self.log = folder / f"{service.name}.log"
        self.starts = 0
        self._read = 0
        self._environment = environment or dict
        self._words = words
        self._running: subprocess.Popen[bytes] | None = None

    def start(self, **more: str) -> None:
        """Start it; returns at once. `more` are variables of this one process."""
        assert not self.lives(), f"{self.name} runs already"
        command = self.service.command()
        # Behind `setpriv`: what is loaded before it would belong to another user.
        place = command.index("--") + 1 if command[0] == "setpriv" else 0
        words = ["env", *(f"{name}={value}" for name, value in more.items())] if more else []
        self._running = process.start(
            [*command[:place], *words, *command[place:], *self._words],
            log=self.log,
            env={**inherited_environment(), **self.service.environment(), **self._environment()},
            cwd=self.service.work_folder(),
        )
        self._identity = process.ProcessId.of(self._running.pid)
        self.starts += 1

    def use(self, service: Service) -> None:
        """Start this one from now on: with other settings."""
        self.service = service

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self._running is not None, f"{self.name} was never started"
        return self._running

    @property
    def pid(self) -> int:
        return self.running.pid

    def lives(self) -> bool:
        return self._running is not None and self._running.poll() is None

    def ready(self) -> None:
        """Wait until it does its work."""

        def done() -> bool:
            assert self.lives(), f"{self.name} ended:\n{self.said()}"
            return self.service.ready()

        eventually(done)

    def signal(self, number: signal.Signals) -> int:
        """Send a signal, and return the exit code."""
        os.kill(self.pid, number)
        return self.running.wait(60)

    def kill(self) -> None:
        """As the kernel does, with all its children."""
        if self.lives():
            process.kill(self._identity)
            self.running.wait()

    def stop(self) -> None:
        """In order, as at the end of the product."""
        if self.lives():
            process.stop(self._identity, ask=self.service.stop_signal, patience=self.service.patience)
            self.running.wait()

    def memory(self) -> int:
        """Bytes that it holds."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def processor_time(self) -> float:
        """Seconds of a processor that it has taken so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def news(self) -> str:
        """What it has said since this was asked last."""
        said = self.said()
        before, self._read = self._read, len(said)
        return said[before:]

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def with_clock(clock: Path) -> dict[str, str]:
    """Variables of a process whose clock a file sets: write `+1d` or `-2h` to it, also while it runs."""
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def copied_package(folder: Path) -> Path:
    """The small package of models, where the loop may take it from."""
    source = Path(__file__).parents[1] / "transform" / "small_package"
    return Path(shutil.copytree(source, folder / "small_package"))


class CouchDB(Service):
    """The CouchDB-protocol server over a folder of its own."""

    name = "couchdb"

    def __init__(self, folder: Path, *, port: int, user: str, password: str) -> None:
        self.port = port
        self.password = password
        self._user = user
        self._folder = folder
        self._node, self._modules = installed_server()

    def command(self) -> list[str]:
        return [str(self._node), str(self._modules / "server.js")]

    def environment(self) -> Mapping[str, str]:
        return {
            "COUCHDB_USER": self._user,
            "COUCHDB_PASSWORD": self.password,
            "COUCHDB_PORT": str(self.port),
            "COUCHDB_DATA": str(self._folder / "couchdb"),
        }

    def work_folder(self) -> Path:
        return self._folder

    def ready(self) -> bool:
        login = (self._user, self.password)
        try:
            answer = requests.get(f"http://127.0.0.1:{self.port}/_all_dbs", auth=login, timeout=5)
        except requests.RequestException:
            return False
        return answer.status_code == 200
