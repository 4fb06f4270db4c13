"""Real services for tests, each in a module of its own; and the log as the next test expects it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["couchdb_fixture", "postgres_fixture"]


TESTS = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Several processes share the tests; those on one environment stay together, as do those of a file."""
    for item in items:
        path = item.path.relative_to(TESTS)
        if path.parts[0] == "docker":
            group = "docker"
        elif path.name.startswith("test_superset"):
            group = "superset"
        else:
            group = str(path)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(autouse=True)
def log_levels_as_before() -> Iterator[None]:
    """A command that runs in this process sets levels for the whole of it."""
    names = [None, *(name for name in logging.root.manager.loggerDict if name.startswith("cht_sync"))]
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)
