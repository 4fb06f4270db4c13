"""Databases with couch2pg's schema and ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_fixture import PostgresServer
from warehouse.installation import Installation

from .both import DATABASES, Both


@pytest.fixture
def ours(postgres_server: PostgresServer, database: str, tmp_path: Path) -> Iterator[Both]:
    """Our schema alone, without documents."""
    both = Both(Installation(postgres_server, database), tmp_path)
    both.init(*DATABASES)
    yield both
    both.drop_people()
    both.installation.drop_roles()


@pytest.fixture
def both(ours: Both) -> Both:
    """Both schemas, with the same documents of a small programme."""
    ours.with_couch2pg()
    ours.store_programme()
    ours.query("select refresh_matviews()")
    return ours
