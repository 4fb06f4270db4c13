"""The layout of version 0.1.0, kept as a fixture: later versions must be able to take it over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from postgres_fixture import PostgresServer
from psycopg2 import sql
from waiting import eventually

from cht_sync import process
from cht_sync.errors import ChtSyncError
from warehouse.installation import Installation, headers, plain_owner, put

FIXTURE = Path(__file__).parents[1] / "fixtures" / "layout-0.1.0.sql"
NAME = "data"

TABLES = {
    "medic": "_id",
    "medic-sentinel": "_id",
    "couchdb_progress": "source",
    "dead_letters": "id",
}

LAYOUT = {
    "columns": """
        select c.relname, a.attname, format_type(atttypid, atttypmod), attnotnull, attidentity, collname,
          pg_get_expr(adbin, adrelid), col_description(c.oid, attnum)
        from pg_attribute as a join pg_class as c on c.oid = attrelid
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        left join pg_collation on pg_collation.oid = attcollation
        where relnamespace = 'v1'::regnamespace and relkind in ('r', 'v') and attnum > 0
        order by 1, attnum""",
    "constraints": """
        select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
        where connamespace = 'v1'::regnamespace order by 1, 2""",
    "indexes": "select indexdef from pg_indexes where schemaname = 'v1' order by 1",
    "triggers": "select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal order by 1",
    "functions": """
        select proname, prosecdef, proconfig, provolatile, prosrc, proacl from pg_proc
        where pronamespace = 'v1'::regnamespace order by 1""",
    "storage": """
        select relname, reloptions, array(select to_jsonb(a) ->> 'attcompression' from pg_attribute as a
          where attrelid = pg_class.oid and attnum > 0 order by attnum)
        from pg_class where relnamespace = 'v1'::regnamespace and relkind = 'r' order by 1""",
    "comments": """
        select relname, objsubid, description from pg_description join pg_class on pg_class.oid = objoid
        where classoid = 'pg_class'::regclass and relnamespace = 'v1'::regnamespace order by 1, 2""",
    "views": "select viewname, definition from pg_views where schemaname = 'v1' order by 1",
    "rights": """
        select relname, array(select replace(unnest(relacl)::text, current_database() || '_', '') order by 1)
        from pg_class where relnamespace = 'v1'::regnamespace and relkind in ('r', 'v') order by 1""",
}


COLUMNS = """
    select attname from pg_attribute where attrelid = format('v1.%%I', %s::text)::regclass and attnum > 0
    order by attnum"""


def columns(installation: Installation, table: str) -> list[str]:
    return [name for (name,) in installation.query(COLUMNS, table)]


def rows(installation: Installation, table: str, columns: list[str]) -> list[tuple[Any, ...]]:
    """Where each row lies, which transaction made it, and what is in it."""
    question = sql.SQL("select ctid::text, xmin::text, {} from {} order by {}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.Identifier("v1", table),
        sql.Identifier(TABLES[table]),
    )
    return installation.query(question)


def drop(server: PostgresServer) -> None:
    with closing(psycopg2.connect(server.dsn())) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"drop database if exists {NAME} with (force)")


def create(server: PostgresServer) -> None:
    drop(server)
    with closing(psycopg2.connect(server.dsn())) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"create database {NAME}")


def load(server: PostgresServer, *, user: str, password: str) -> None:
    """Load the dump; what it makes is the user's."""
    process.run(
        ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", FIXTURE],
        env={
            "PATH": f"{server.programs}:{os.environ['PATH']}",
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": user,
            "PGPASSWORD": password,
            "PGDATABASE": NAME,
        },
    )


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


def test_the_script_takes_over_a_database_of_version_0_1_0_and_its_rows_are_unchanged(
    kept: Installation,
) -> None:
    known = {table: columns(kept, table) for table in TABLES}
    before = {table: rows(kept, table, known[table]) for table in TABLES}
    stamp = kept.value("select last_stamp from v1.cht_sync_state")
    assert all(before.values())
    kept.init("medic medic-sentinel")
    assert {table: rows(kept, table, known[table]) for table in TABLES} == before
    assert kept.query("select layout_version, last_stamp from v1.cht_sync_state") == [("0.2.0", stamp)]
    assert kept.query("select closed_at, closed_by from v1.dead_letters") == [(None, None)] * len(
        before["dead_letters"]
    )


def test_a_database_of_version_0_1_0_takes_writes_after_the_script(kept: Installation) -> None:
    kept.init("medic medic-sentinel")
    greatest = kept.value("select max(saved_timestamp) from v1.all_documents")
    with kept.connected() as connection, connection:
        put(connection, ("c0ffee", "3-new", {}), headers=headers(2, 1, seq="9-g1AAAA"))
    assert kept.value("select saved_timestamp from v1.medic where _id = 'c0ffee'") > greatest


def test_an_upgraded_database_has_the_layout_of_a_new_one(
    kept: Installation, installed: Installation
) -> None:
    report = kept.init("medic medic-sentinel")
    assert report[0] == "layout upgraded from 0.1.0 to 0.2.0"
    for part, question in LAYOUT.items():
        assert installed.query(question) == kept.query(question), part
    assert kept.init("medic medic-sentinel") == []


def test_an_upgrade_that_is_cut_off_has_changed_nothing(kept: Installation) -> None:
    before = [kept.query(question) for question in LAYOUT.values()]
    with closing(kept.connect()) as writer, ThreadPoolExecutor(1) as pool:
        put(writer, ("a", "9-a", {}), table="medic-sentinel")
        upgrade = pool.submit(kept.init, "medic medic-sentinel")
        waiting = (
            "select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        eventually(lambda: bool(kept.query(waiting)))
        kept.query(f"select pg_terminate_backend(pid) from ({waiting}) as _")
        with pytest.raises(ChtSyncError):
            upgrade.result()
        writer.commit()
    assert [kept.query(question) for question in LAYOUT.values()] == before
    kept.init("medic medic-sentinel")
    assert kept.value("select layout_version from v1.cht_sync_state") == "0.2.0"


def test_the_upgrade_does_not_wait_for_readers_of_documents(kept: Installation) -> None:
    """dbt may read for long; only what gets columns, the progress and the letters, must be free."""
    with closing(kept.connect()) as reader:
        reader.cursor().execute('select 1 from v1.medic, v1."medic-sentinel", v1.all_documents, v1.couchdb')
        while_read = kept.init("medic medic-sentinel", PGOPTIONS="-c lock_timeout=2s")
    assert while_read == ["layout upgraded from 0.1.0 to 0.2.0"]
    choices = kept.value("select enumvals from pg_settings where name = 'default_toast_compression'")
    assert ("medic: documents that come are compressed with lz4" in kept.init("medic medic-sentinel")) == (
        "lz4" in choices
    )


def test_an_owner_that_is_no_superuser_can_upgrade(postgres_server: Any) -> None:
    """On a server that somebody else runs; the roles and everything in the database are the owner's."""
    installation = Installation(postgres_server, NAME)
    roles = [f"{NAME}_{part}" for part in ("authenticator", "anon", "ingest", "superset", "dbt")]
    create(postgres_server)
    try:
        with plain_owner(installation) as (owner, password):
            make = "".join(f"create role {role};" for role in roles)
            installation.query(f"set role {owner}; {make} grant {NAME}_dbt to {owner}")
            load(postgres_server, user=owner, password=password)
            installation.init("medic medic-sentinel", owner=(owner, password))
            assert installation.value("select layout_version from v1.cht_sync_state") == "0.2.0"
            assert installation.init("medic medic-sentinel", owner=(owner, password)) == []
    finally:
        drop(postgres_server)
