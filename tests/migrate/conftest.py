"""CouchDB's databases with what an earlier program has made of them, and both schemas with the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres_fixture import PostgresServer, fresh_database
from reconcile.world import Place
from warehouse.installation import Installation
from warehouse.served import served

from migrate.both import DATABASES, Both
from migrate.country import Country, country_of


@pytest.fixture
def country(
    postgres_server: PostgresServer, couchdb_server: Any, couchdb_database: str, tmp_path: Path
) -> Iterator[Country]:
    """Three empty databases of CouchDB, and an installation for them."""
    with fresh_database(postgres_server) as name, served(postgres_server, name) as one:
        place = Place(couchdb_server.host, couchdb_server.port, couchdb_server.user, couchdb_server.password)
        client = couchdb_server.client()
        made = country_of(one, place, couchdb_database, tmp_path)
        for database in made.databases:
            client.create_database(database)
        yield made
        for database in made.databases:
            client.delete_database(database)
        client.close()
        one.installation.drop_roles()


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
