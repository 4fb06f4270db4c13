"""Databases made by the script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from postgres_fixture import on_every_server

from warehouse.installation import Installation
from warehouse.kept import NAME, create, drop, load

pytest_generate_tests = on_every_server


@pytest.fixture
def empty(postgres_server: Any, database: str) -> Iterator[Installation]:
    """An empty database in which the script has not run."""
    installation = Installation(postgres_server, database)
    yield installation
    installation.drop_roles()


@pytest.fixture
def installed(empty: Installation) -> Installation:
    """The first layout, for the databases medic and medic-sentinel."""
    empty.init("medic medic-sentinel")
    return empty


@pytest.fixture
def kept(postgres_server: Any) -> Iterator[Installation]:
    """A database named data that was made by version 0.1.0."""
    create(postgres_server)
    installation = Installation(postgres_server, NAME)
    try:
        load(postgres_server, user=postgres_server.user, password=postgres_server.password)
        yield installation
        installation.drop_roles()
    finally:
        drop(postgres_server)
