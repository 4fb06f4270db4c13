"""Services that are real processes of a few lines of shell, for tests of the supervisor.

As a program (`python scripted_services.py FOLDER`) it supervises two of them as `up` does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.runtime import state as states
from cht_sync.runtime.service import Say, Service
from cht_sync.runtime.supervisor import Supervisor, stop_leftovers
from cht_sync.shutdown import stop_on_signals

ONCE_ALLOWED = """
echo "$NAME started" >> journal
trap 'echo "$NAME stopped" >> journal; kill $!; exit 0' TERM
until [ -e "$NAME.allowed" ]; do sleep 0.02 & wait $!; done
sleep 600 &
touch "$NAME.ready"
wait
"""
DEAF = """
trap '' TERM
touch "$NAME.ready"
while true; do sleep 600; done
"""


class Scripted(Service):
    """Writes to `journal` when it starts and stops; ready once the file `<name>.allowed` is there."""

    def __init__(self, name: str, folder: Path, script: str = ONCE_ALLOWED, *, allowed: bool = True) -> None:
        self.name = name
        self.folder = folder
        self.script = script
        self.patience = 60.0
        self.words: Sequence[str] = ("sh", "-c", script)
        self.refusal: ChtSyncError | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        if allowed:
            self.allow()

    def allow(self) -> None:
        (self.folder / f"{self.name}.allowed").touch()

    def forbid(self) -> None:
        (self.folder / f"{self.name}.allowed").unlink()
        self._ready_file.unlink()

    def prepare(self, say: Say) -> None:
        say("preparing")
        self.meanwhile()
        if self.refusal is not None:
            raise self.refusal

    def command(self) -> list[str]:
        return list(self.words)

    def environment(self) -> dict[str, str]:
        return {"NAME": self.name}

    def work_folder(self) -> Path:
        return self.folder

    def ready(self) -> bool:
        return self._ready_file.exists()

    def after_start(self, say: Say) -> None:
        with (self.folder / "journal").open("a") as journal:
            journal.write(f"{self.name} ready\n")

    @property
    def _ready_file(self) -> Path:
        return self.folder / f"{self.name}.ready"


def main(folder: Path, script: str) -> None:
    services = [Scripted("postgres", folder), Scripted("couchdb", folder, script)]
    with stop_on_signals() as stop, states.only_one(folder):
        before = states.read(folder)
        if before is not None:
            stop_leftovers(before)
        Supervisor(Environment.LOCAL, services, folder, without=(), given={}).run(stop)


if __name__ == "__main__":
    main(Path(sys.argv[1]), DEAF if "--deaf" in sys.argv else ONCE_ALLOWED)
