"""A database that was made by version 0.1.0, from a fixture; and all that makes a layout what it is."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from postgres_fixture import PostgresServer
from psycopg2 import sql

from cht_sync import process
from warehouse.installation import Installation

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
