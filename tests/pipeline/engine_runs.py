"""Configurations run as the command line runs them, in a thread or in a process that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cht_sync.pipeline.run import run_pipelines
from cht_sync.pipeline.sources import PipelineSource, load_all

PATIENCE = 60.0


class Running:
    """Pipelines by id, in a thread."""

    def __init__(self, folder: Path, **configs: str) -> None:
        sources = [PipelineSource(name, text) for name, text in configs.items()]
        self.pipelines = load_all(sources, {}, folder / "data")
        self._stop = threading.Event()
        self.failures: list[Exception] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            run_pipelines(self.pipelines, self._stop)
        except Exception as error:
            self.failures.append(error)

    def wait(self) -> None:
        """Wait until all inputs have ended by themselves."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert self.failures == []

    def stop(self) -> None:
        self._stop.set()
        self.wait()


def run_to_the_end(folder: Path, config: str) -> None:
    """Run one pipeline, `main`, until its inputs have ended."""
    Running(folder, main=config).wait()


def start_process(
    folder: Path, config: str, environment: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Run one pipeline in a process; the data folder is `data` below `folder`."""
    command = [
        sys.executable,
        "-m",
        "cht_sync",
        "pipeline",
        "run",
        "--path.data",
        folder / "data",
        "-e",
        config,
    ]
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **(environment or {})}, **options)


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file, a line each; none where there is no file. Half lines are left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
