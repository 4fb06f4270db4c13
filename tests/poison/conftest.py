"""Every PostgreSQL of the machine must hold, or refuse, the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres_fixture import on_every_server
from warehouse.served import Served, served

from poison.recorded_feed import RecordedFeed, recorded_feed


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """On both servers, but for what does not depend on them."""
    if not getattr(metafunc.module, "ON_ONE_SERVER", False):
        on_every_server(metafunc)


@pytest.fixture
def warehouse(postgres_server: Any, database: str) -> Iterator[Served]:
    with served(postgres_server, database) as one:
        yield one


@pytest.fixture
def feed() -> Iterator[RecordedFeed]:
    with recorded_feed() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the engine keeps its files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def thousands_of_levels() -> Iterator[None]:
    """Python's own reader of JSON must follow what is compared."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    yield
    sys.setrecursionlimit(before)
