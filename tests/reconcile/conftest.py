"""Worlds: a database of the real CouchDB-protocol server, and a table for it in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres_fixture import PostgresServer, fresh_database
from warehouse.served import Served, served

from reconcile.world import Place, World, world_of


@pytest.fixture(scope="module")
def warehouse(postgres_server: PostgresServer) -> Iterator[Served]:
    """Shared by the worlds of a module: each has a table of its own."""
    with fresh_database(postgres_server) as name, served(postgres_server, name) as one:
        yield one


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    warehouse: Served,
    couchdb_server: Any,
    couchdb_database: str,
    tmp_path: Path,
) -> Iterator[World]:
    """An empty database and its empty table; a parameter names a database of another name."""
    name = getattr(request, "param", couchdb_database)
    place = Place(couchdb_server.host, couchdb_server.port, couchdb_server.user, couchdb_server.password)
    client = couchdb_server.client()
    client.create_database(name)
    yield world_of(warehouse, place, [name], tmp_path)
    client.delete_database(name)
    client.close()
