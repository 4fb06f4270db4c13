"""Real services for tests, each in a module of its own; and the log as the next test expects it."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.extent import ALL, SEED
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["couchdb_fixture", "postgres_fixture"]


class ByEnvironment(LoadScopeScheduling):  # type: ignore[misc]
    """Tests on one environment stay together in one process, and so do those of a file."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        if "docker" in path.parts:
            return "docker"
        return "superset" if "e2e/test_superset_" in nodeid else str(path)


def pytest_report_header() -> str:
    """What repeats a run of tests/faults."""
    return f"faults: FAULT_SEED={SEED}, {'all' if ALL else 'a sample'} of them"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByEnvironment:
    """How several processes share the tests."""
    return ByEnvironment(config, log)


@pytest.fixture(autouse=True)
def log_levels_as_before() -> Iterator[None]:
    """A command that runs in this process sets levels for the whole of it."""
    names = [None, *(name for name in logging.root.manager.loggerDict if name.startswith("cht_sync"))]
    before = {name: logging.getLogger(name).level for name in names}
    hooks = sys.excepthook, threading.excepthook
    yield
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(capture=False)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)
