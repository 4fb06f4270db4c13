"""cht-sync init-db: the database and the script, as settings name them; and what status reads afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from postgres_fixture import PostgresServer
from psycopg2 import sql

from cht_sync import settings
from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.settings import Settings
from cht_sync.warehouse import schema
from cht_sync.warehouse.progress import DatabaseProgress, read_progress
from warehouse.installation import Installation, headers, put


@pytest.fixture
def prod(postgres_server: PostgresServer, empty: Installation) -> Settings:
    return settings.load(
        Environment.PROD,
        read_file=False,
        environ={
            "POSTGRES_HOST": postgres_server.host,
            "POSTGRES_PORT": str(postgres_server.port),
            "POSTGRES_USER": postgres_server.user,
            "POSTGRES_PASSWORD": postgres_server.password,
            "POSTGRES_DB": empty.name,
            "PGRST_DB_PASSWORD": empty.passwords["authenticator"],
            "PGRST_JWT_SECRET": "x" * 40,
            "DBT_POSTGRES_PASSWORD": empty.passwords["dbt"],
            "SUPERSET_DB_PASSWORD": empty.passwords["superset"],
            "SUPERSET_PASSWORD": "x",
            "SUPERSET_SECRET_KEY": "x" * 40,
            "COUCHDB_HOST": "couch",
            "COUCHDB_USER": "reader",
            "COUCHDB_PASSWORD": "x",
            "COUCHDB_DBS": "medic",
        },
    )


@pytest.fixture
def without_database(postgres_server: PostgresServer, empty: Installation) -> Iterator[None]:
    """The server has no such database until init-db makes it; afterwards it is there for the clean-up."""
    database = sql.Identifier(empty.name)
    with closing(psycopg2.connect(postgres_server.dsn())) as connection:
        connection.autocommit = True
        connection.cursor().execute(sql.SQL("drop database {}").format(database))
    yield


def test_init_db_makes_the_database_and_says_what_it_did(
    prod: Settings, without_database: None, empty: Installation
) -> None:
    folder = empty.server.programs
    assert schema.initialise(prod, psql_folder=folder) == [
        "medic: table made",
        "all_documents: view of medic",
        "couchdb: view of medic",
    ]
    assert schema.initialise(prod, psql_folder=folder) == []


def test_what_psql_refuses_is_told(prod: Settings, empty: Installation) -> None:
    empty.query("create schema v1; create view v1.medic as select 1 as one")
    with pytest.raises(ChtSyncError, match=r"v1\.medic was not made by cht-sync"):
        schema.initialise(prod, psql_folder=empty.server.programs)


def test_rows_of_2023_get_the_source_that_the_pipeline_will_write(
    prod: Settings, empty: Installation
) -> None:
    empty.query("""
        create schema v1;
        create table v1.medic ("@version" text, "@timestamp" timestamp, _id text, _rev text, doc jsonb,
          doc_as_upsert boolean, unique (_id, _rev));
        insert into v1.medic values ('1', now(), 'a', '1-a', '{}', true)""")
    schema.initialise(prod, psql_folder=empty.server.programs)
    assert empty.value("select source from v1.medic") == prod.source("medic")


def progress_of(installation: Installation) -> DatabaseProgress:
    with closing(installation.login("dbt")) as connection:
        connection.autocommit = True
        return read_progress(connection, "v1", {"medic": "couch/medic"})["medic"]


def test_progress_counts_what_is_open_and_says_what_is_wrong(installed: Installation) -> None:
    with closing(installed.connect()) as owner:
        with owner:
            put(owner, ("a", "1-a", {}), ("b", "1-b", {}), headers=headers(1, 1, seq="7-x", pending=3))
            put(owner, ("c", "2-c", {}), headers=headers(1, 2), deleted=True)
            owner.cursor().execute("""
                insert into v1.dead_letters (fingerprint, source, database, doc_id, code, reason, closed_at)
                  values ('open', 's', 'medic', 'x', 'c', 'r', null),
                    ('closed', 's', 'medic', 'y', 'c', 'r', now()),
                    ('elsewhere', 's', 'medic-sentinel', 'z', 'c', 'r', null);
                insert into v1.replaced_values (fingerprint, source, database, doc_id, replaced, original)
                  values ('1', 's', 'medic', 'a', 2, '{}'), ('2', 's', 'medic', 'a', 1, '{}'),
                    ('3', 's', 'medic-sentinel', 'a', 1, '{}')""")
        progress = progress_of(installed)
        assert (progress.rows, progress.tombstones, progress.sequence, progress.pending) == (2, 1, "7-x", 3)
        assert (progress.dead_letters, progress.replaced_values, progress.problem) == (1, 1, None)
        with owner:
            put(owner, headers={**headers(1, 3), "cht-sync-problem": "another%20server"})
        assert progress_of(installed).problem == "another server"
