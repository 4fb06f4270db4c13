"""Real services for tests, each in a module of its own; and the log as the next test expects it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

pytest_plugins = ["couchdb_fixture", "postgres_fixture"]


@pytest.fixture(autouse=True)
def log_levels_as_before() -> Iterator[None]:
    """A command that runs in this process sets levels for the whole of it."""
    names = [None, *(name for name in logging.root.manager.loggerDict if name.startswith("cht_sync"))]
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)
