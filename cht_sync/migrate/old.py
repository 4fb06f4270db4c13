"""What earlier programs have left in PostgreSQL: their tables, known by their columns, and their sequences.

Sources: the migrations of couch2pg (table `couchdb(doc)`, `couchdb_progress`) and of cht-couch2pg (the
tables of users-meta, logs and _users); setup.js of cht-sync 1.0 to 2.0; the first layout of cht-sync,
which Logstash filled until 2024.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import unquote

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.pipeline.couchdb.events import USERS_DATABASE
from cht_sync.transform.couch2pg import MARK

PROGRESS = "couchdb_progress"
MAIN, OF_USERS = "couchdb", "couchdb_medic_users"
BY_ENDING = {"-users-meta": "couchdb_users_meta", "-logs": "couchdb_medic_logs"}
"""couch2pg's tables of databases whose names end so."""
OF_COUCH2PG = (MAIN, *BY_ENDING.values(), OF_USERS)
"""couch2pg's tables of documents."""
KINDS = {"p": "a partitioned table", "v": "a view", "m": "a materialised view", "f": "a foreign table"}
READ = ("doc", "_id", "_rev", "_deleted", "source", "@timestamp")
"""Columns of old tables that are compared, or cast."""
TEXTS = (25, 1043)
"""text and varchar, by their numbers in pg_type."""
SYSTEM_SCHEMAS = "^(pg_|information_schema$)"


def table_of(database: str) -> str:
    """The table of couch2pg's that a database goes to."""
    if database == USERS_DATABASE:
        return OF_USERS
    return next((table for ending, table in BY_ENDING.items() if database.endswith(ending)), MAIN)


class Program(StrEnum):
    """Whose tables they are. The first versions of cht-sync 2 were called 1."""

    COUCH2PG = "couch2pg"
    CHT_SYNC_2 = "cht-sync 2"
    CHT_SYNC_2023 = "cht-sync of 2023"


@dataclass(frozen=True)
class Shape:
    """How a program's rows are read: expressions of SQL over its table, named `old`."""

    id: str
    rev: str
    deleted: str
    newest: str = "true"
    """True of a document's newest row alone, where it may have several."""


SHAPES = {
    Program.COUCH2PG: Shape("old.doc ->> '_id'", "old.doc ->> '_rev'", "old.doc -> '_deleted' = 'true'"),
    Program.CHT_SYNC_2: Shape("old._id", "old.doc ->> '_rev'", "old._deleted"),
    Program.CHT_SYNC_2023: Shape(
        "old._id",
        "coalesce(old.doc ->> '_rev', old._rev)",
        "old.doc -> '_deleted' = 'true'",
        """not exists (select from {table} as other where other._id = old._id
            and other.doc is not null and (coalesce(other."@timestamp", '-infinity'),
              coalesce(substring(other._rev from '^([0-9]+)-')::numeric, 0), other._rev collate "C")
            > (coalesce(old."@timestamp", '-infinity'),
              coalesce(substring(old._rev from '^([0-9]+)-')::numeric, 0), old._rev collate "C"))""",
    ),
}


@dataclass(frozen=True)
class OldTable:
    """A table of an earlier program; `bytes` with its indexes and what is stored apart.

    `kind` is of pg_class: only ordinary tables, r, can be moved.
    """

    schema: str
    name: str
    program: Program
    has_source: bool
    kind: str
    filenode: int | None
    bytes: int
    empty: bool
    readable: bool
    owner: str

    @property
    def relation(self) -> str:
        """Its name as people write it."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """Its name in SQL."""
        return sql.Identifier(self.schema, self.name)

    @property
    def shape(self) -> Shape:
        """How its rows are read."""
        return SHAPES[self.program]

    def expression(self, text: str) -> sql.Composable:
        """One of its shape's expressions."""
        return sql.SQL(text).format(table=self.identifier)


@dataclass(frozen=True)
class OldSource:
    """A line of the earlier program's progress: `name` is `<host>[:port]/<path>`."""

    name: str
    sequence: str | None

    @property
    def host(self) -> str:
        """The host alone; empty where it is not told, as by the first versions of couch2pg."""
        host = self.name.partition("/")[0] if "/" in self.name else ""
        return re.sub(r":\d+$", "", host)

    @property
    def database(self) -> str:
        """The database's name; empty where it is not told."""
        return unquote(self.name.rpartition("/")[2]) if "/" in self.name else ""


@dataclass(frozen=True)
class OldProgress:
    """The earlier program's progress; `readable`: without that, no source of it is known."""

    sources: tuple[OldSource, ...]
    readable: bool = True


NO_PROGRESS = OldProgress(())


@dataclass(frozen=True)
class Old:
    """An earlier program's schema."""

    schema: str
    program: Program
    tables: tuple[OldTable, ...]
    progress: OldProgress


def found_in(connection: Connection, schema: str | None) -> list[Old]:
    """What earlier programs have left in a schema, or in all of them; their progress is still to be read.

    Only the catalog is looked at: what anybody has called so is not read before the operator has chosen it.
    Raises psycopg2.Error.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select nspname, relname, columns,
              exists (select from pg_class as progress
                  join pg_attribute on attrelid = progress.oid and attnum > 0 and not attisdropped
                where progress.relnamespace = n.oid and progress.relname = %(progress)s
                  and progress.relkind = 'r'
                having bool_or(attname = 'seq') and not bool_or(attname = 'epoch')),
              relkind::text, pg_relation_filenode(c.oid)::bigint,
              coalesce(pg_total_relation_size(c.oid), 0),
              relkind = 'r' and pg_relation_size(c.oid) = 0,
              has_table_privilege(c.oid, 'select') and has_schema_privilege(n.oid, 'usage'),
              pg_get_userbyid(relowner)
            from pg_class as c join pg_namespace as n on n.oid = relnamespace,
              lateral (select array_agg(attname || ' ' || format_type(atttypid, null)),
                  bool_or(attname = any(%(read)s)
                    and (select typnamespace <> 'pg_catalog'::regnamespace from pg_type where oid = atttypid))
                from pg_attribute
                where attrelid = c.oid and attnum > 0 and not attisdropped) as _(columns, has_own_types)
            where relkind in ('r', 'p', 'v', 'm', 'f') and not relispartition and nspname !~ %(system)s
              and (%(schema)s is null or nspname = %(schema)s)
              -- These could not stand in a statement that has parameters.
              and strpos(nspname, '%%') = 0 and strpos(relname, '%%') = 0
              and obj_description(n.oid, 'pg_namespace') is distinct from %(ours)s
              and 'doc jsonb' = any(columns)
              -- What compares values of a type of somebody's own would be theirs, too.
              and not has_own_types
              and not exists (select from pg_trigger where tgrelid = c.oid and tgname = 'begin_write')
            order by 1, 2
            """,
            {
                "system": SYSTEM_SCHEMAS,
                "schema": schema,
                "ours": MARK,
                "progress": PROGRESS,
                "read": [*READ],
            },
        )
        rows = cursor.fetchall()
    tables: dict[tuple[str, Program], list[OldTable]] = {}
    for schema_name, name, columns, has_progress, *others in rows:
        program = _program(columns, has_progress=has_progress)
        if program is not None:
            table = OldTable(schema_name, name, program, "source" in _names(columns), *others)
            tables.setdefault((schema_name, program), []).append(table)
    return [
        Old(schema_name, program, tuple(ones), NO_PROGRESS)
        for (schema_name, program), ones in tables.items()
        if any(one.kind == "r" for one in ones)
    ]


def with_progress(connection: Connection, old: Old) -> Old:
    """The same with its progress. Raises psycopg2.Error."""
    return replace(old, progress=_progress(connection, old.schema))


def _program(columns: Sequence[str], *, has_progress: bool) -> Program | None:
    names = _names(columns)
    if names == {"doc"}:
        return Program.COUCH2PG if has_progress else None
    if {"saved_timestamp", "_id", "_deleted", "doc"} <= names and "_rev" not in names:
        return Program.CHT_SYNC_2
    if {"@version", "@timestamp", "_id", "_rev", "doc"} <= names and "saved_timestamp" not in names:
        return Program.CHT_SYNC_2023
    return None


def _names(columns: Sequence[str]) -> set[str]:
    return {column.partition(" ")[0] for column in columns}


def _progress(connection: Connection, schema: str) -> OldProgress:
    """What an ordinary table of this name says, where it is not ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select array_agg(attname::text), bool_or(attname in ('seq', 'source') and atttypid <> all(%s)),
              bool_and(has_table_privilege(pg_class.oid, 'select') and has_schema_privilege(n.oid, 'usage'))
            from pg_class join pg_namespace as n on n.oid = relnamespace
              join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
            where nspname = %s and relname = %s and relkind = 'r'
            """,
            ([*TEXTS], schema, PROGRESS),
        )
        ((columns, has_other_types, readable),) = cursor.fetchall()
        if not columns or "seq" not in columns or "epoch" in columns or has_other_types:
            return NO_PROGRESS
        if not readable:
            return OldProgress((), readable=False)
        cursor.execute(
            sql.SQL("select {}, seq::text from {} order by 1").format(
                sql.SQL("source" if "source" in columns else "''"), sql.Identifier(schema, PROGRESS)
            )
        )
        return OldProgress(tuple(OldSource(name, sequence) for name, sequence in cursor.fetchall()))
