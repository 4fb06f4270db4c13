"""cht-sync init-db: the database and the script, as settings name them; and what status reads afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import psycopg2
import pytest
from free_ports import free_port
from postgres_fixture import PostgresServer
from psycopg2 import sql

from cht_sync import settings
from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.settings import Settings
from cht_sync.warehouse import schema
from cht_sync.warehouse.progress import DatabaseProgress, read_progress
from warehouse.installation import Installation, headers, put

SECRET = "swordfish-swordfish-swordfish-swordfish"


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
            "PGRST_JWT_SECRET": SECRET,
            "DBT_POSTGRES_PASSWORD": empty.passwords["dbt"],
            "SUPERSET_DB_PASSWORD": empty.passwords["superset"],
            "SUPERSET_PASSWORD": SECRET,
            "SUPERSET_SECRET_KEY": SECRET,
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


def test_a_refusal_is_a_message_and_a_hint_without_the_words_of_psql(
    prod: Settings, empty: Installation
) -> None:
    empty.query("create schema v1; create view v1.medic as select 1 as one")
    with pytest.raises(ChtSyncError) as refusal:
        schema.initialise(prod, psql_folder=empty.server.programs)
    assert refusal.value.message == (
        "v1.medic was not made by cht-sync: move it away, or choose another POSTGRES_SCHEMA"
    )
    assert refusal.value.hint is not None
    assert refusal.value.hint.startswith("Nothing was changed.")
    assert "CONTEXT" not in refusal.value.hint


def test_what_the_shell_refuses_is_told_as_it_is(prod: Settings, empty: Installation) -> None:
    """Only psql's words are taken apart."""
    wrong = replace(prod, couchdb_dbs=())
    with pytest.raises(ChtSyncError, match=r"init-db-resources: COUCHDB_DBS is not set"):
        schema.initialise(wrong, psql_folder=empty.server.programs)


def test_warnings_of_postgresql_are_told(prod: Settings, empty: Installation) -> None:
    empty.query("""
        create function public.warn() returns event_trigger language plpgsql as
          $$ begin raise warning 'look at this'; end $$;
        create event trigger warn on ddl_command_start when tag in ('CREATE SCHEMA')
          execute function public.warn()""")
    said = schema.initialise(prod, psql_folder=empty.server.programs)
    assert "warning: look at this" in said
    assert "medic: table made" in said


def test_a_server_that_is_not_there_is_said_to_be_unreachable(prod: Settings) -> None:
    with pytest.raises(ChtSyncError) as failure:
        schema.initialise(replace(prod, postgres_port=free_port()))
    assert str(failure.value).endswith(" cannot be reached: Connection refused")
    assert failure.value.hint is not None


def test_a_wrong_password_is_said_to_be_refused(prod: Settings) -> None:
    with pytest.raises(ChtSyncError) as failure:
        schema.initialise(replace(prod, postgres_password="wrong"))
    user = prod.postgres_user
    assert f'refuses {user}: password authentication failed for user "{user}"' in str(failure.value)


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
