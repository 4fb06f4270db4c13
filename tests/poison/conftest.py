"""Every PostgreSQL of the machine must hold, or refuse, the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres_fixture import on_every_server
from warehouse.served import Served, served

from poison.recorded_feed import RecordedFeed, recorded_feed

pytest_generate_tests = on_every_server


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
