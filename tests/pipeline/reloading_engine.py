"""Pipelines of a folder, run in a thread as `pipeline run` does, with a configuration that can change."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from waiting import eventually

from cht_sync.pipeline.monitor.metrics import Registry
from cht_sync.pipeline.reload import Reloading
from cht_sync.pipeline.run import run_pipelines
from cht_sync.pipeline.startup import prepare

PATIENCE = 30.0


class ReloadingEngine:
    """`pipelines` is the text of pipelines.yml; without an interval only `ask` makes it look."""

    def __init__(
        self,
        folder: Path,
        pipelines: str,
        *,
        interval: float | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.write("pipelines.yml", pipelines)
        self.startup = prepare({"path.data": str(folder / "data")}, env or {}, folder)
        found = self.startup.loader.load_all(self.startup.find())
        self.registry = Registry()
        for one in found:
            self.registry.add(one.pipeline.metrics)
        self._asked, self._stop = threading.Event(), threading.Event()
        self._reloading = Reloading(
            self.startup.find, self.startup.loader, self.registry, self._asked, interval
        )
        self.failures: list[BaseException] = []
        self._found = found
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            run_pipelines(self._found, self._stop, self._reloading)
        except BaseException as error:
            self.failures.append(error)

    def write(self, name: str, text: str) -> None:
        """Write a file of the configuration; as one that nobody has touched for a while."""
        path = self.folder / name
        path.write_text(text)
        os.utime(path, (1_000_000_000, 1_000_000_000))

    def ask(self) -> None:
        """As SIGHUP does; returns when it was looked."""
        self._asked.set()
        eventually(lambda: not self._asked.is_set())

    def ids(self) -> dict[str, str]:
        """Which run of each pipeline there is now."""
        return {one.id: one.ephemeral_id for one in self.registry.pipelines()}

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._stop.set()
        self.wait()

    def wait(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert self.failures == []
