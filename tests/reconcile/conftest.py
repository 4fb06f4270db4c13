"""Worlds: a database of the real CouchDB-protocol server, and a table for it in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from warehouse.installation import Installation

from reconcile.world import Place, World, world_of


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    postgres_server: Any,
    database: str,
    couchdb_server: Any,
    couchdb_database: str,
    tmp_path: Path,
) -> Iterator[World]:
    """An empty database and its empty table; a parameter names a database of another name."""
    name = getattr(request, "param", couchdb_database)
    place = Place(couchdb_server.host, couchdb_server.port, couchdb_server.user, couchdb_server.password)
    client = couchdb_server.client()
    client.create_database(name)
    with world_of(Installation(postgres_server, database), place, [name], tmp_path) as one:
        yield one
    client.delete_database(name)
    client.close()
