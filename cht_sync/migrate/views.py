"""Making, renewing and removing the schema `couch2pg`: what SQL written for couch2pg reads, over our tables.

One transaction, beside which neither init-db nor the partitioning of a table runs; then the indexes of the
documents, which are built while documents go on being written. Run again, it makes what is missing or has
become other, and leaves the rest. What it made is in the table `cht_sync_parts` there, and who may read it in
`cht_sync_readers`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from cht_sync.errors import ChtSyncError
from cht_sync.migrate import document_indexes
from cht_sync.migrate.built_in_views import built_in
from cht_sync.migrate.carried_over import CarryingOver, old_schema_of, origin
from cht_sync.migrate.connection import ALL_ROWS
from cht_sync.migrate.granting import READERS, allow
from cht_sync.migrate.making import NOTHING_CHANGED, PARTS, Making, Report
from cht_sync.migrate.relations import KINDS, Found, drop, oid_of, readers, said, search_path
from cht_sync.settings import Settings
from cht_sync.transform.couch2pg import MARK, SCHEMA

LOCK = "cht-sync migrate views"
LOCK_OF_INIT_DB = "cht-sync init-db"
PATIENCE = "100s"
"""For locks; who comes later queues behind us."""


@dataclass(frozen=True)
class Wishes:
    """`old_schema` is where couch2pg's tables are (None: wherever they are found), `readers` are roles that
    may read beside dbt's, `trusted` are roles whose views are carried over beside those of the old tables'
    owner; with `indexes` documents can be looked up by id and type.
    """

    old_schema: str | None = None
    readers: Collection[str] = ()
    trusted: Collection[str] = ()
    indexes: bool = True


def make_views(settings: Settings, connection: Connection, wishes: Wishes) -> Report:
    """Make or renew everything; `connection` is the owner's, in autocommit.

    Raises ChtSyncError where nothing could be done; a view of the operator's own that cannot be made is in
    the report. Raises psycopg2.Error when the connection is lost, or PostgreSQL refuses.
    """
    report = Report()
    with _alone(connection):
        with _transaction(connection) as cursor:
            old_schema = _refuse(cursor, settings, wishes)
            report.origin = origin(cursor, old_schema)
            _make_schema(cursor, report, settings.postgres_user)
            parts = built_in(cursor, settings.postgres_schema, settings.couchdb_dbs)
            making = Making(cursor, report, parts)
            making.built_in()
            if old_schema is not None:
                CarryingOver(cursor, old_schema, wishes.trusted, making, report).carry_over()
            making.put_back()
            allow(cursor, settings.dbt_role, wishes.readers, making.new, report)
        if wishes.indexes:
            tables = [(settings.postgres_schema, one) for one in settings.couchdb_dbs]
            report.done += document_indexes.make(connection, tables)
    return report


def drop_views(settings: Settings, connection: Connection) -> Report:
    """Remove all that `make_views` made. Raises ChtSyncError where something else would go with it."""
    report = Report()
    with _alone(connection):
        with _transaction(connection) as cursor:
            if _is_ours(cursor) is not None:
                _check_is_ours(cursor)
                _drop_schema(cursor)
                report.done.append(f"schema {SCHEMA}: dropped, with all that was in it")
        report.done += document_indexes.drop(connection, settings.postgres_schema)
    return report


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """One run at a time. Not waited for: an index that is built beside writers waits for all who wait."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_try_advisory_lock(hashtextextended(%s, 0))", (LOCK,))
        if cursor.fetchone() != (True,):
            raise ChtSyncError(
                "cht-sync migrate views is under way elsewhere", hint="Run it again once that has ended."
            )
        try:
            yield
        finally:
            if not connection.closed:
                cursor.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", (LOCK,))


@contextmanager
def _transaction(connection: Connection) -> Iterator[Cursor]:
    connection.autocommit = False
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("set local client_min_messages = warning")
            # Rented servers may have a limit for everybody; a view takes as long as it takes.
            cursor.execute("set local statement_timeout = 0")
            cursor.execute(
                "select set_config('lock_timeout', %s, true) where current_setting('lock_timeout') = '0'",
                (PATIENCE,),
            )
            search_path(cursor, "pg_catalog")
            cursor.execute(ALL_ROWS)
            cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (LOCK_OF_INIT_DB,))
            yield cursor
    finally:
        if not connection.closed:
            connection.autocommit = True


def _refuse(cursor: Cursor, settings: Settings, wishes: Wishes) -> str | None:
    """Return couch2pg's schema, None where there is none. Raises ChtSyncError before anything is changed."""
    if SCHEMA in (settings.postgres_schema, settings.dbt_postgres_schema):
        raise ChtSyncError(
            f"the schema {SCHEMA} is that of POSTGRES_SCHEMA or DBT_POSTGRES_SCHEMA", hint=NOTHING_CHANGED
        )
    schema = settings.postgres_schema
    missing = [one for one in settings.couchdb_dbs if oid_of(cursor, schema, one) is None]
    if missing:
        raise ChtSyncError(
            f"{', '.join(f'{schema}.{one}' for one in missing)}: no such table",
            hint="Make it with: cht-sync init-db",
        )
    if _is_ours(cursor) is not None:
        _check_is_ours(cursor)
    _refuse_views_in_place_of_tables(cursor)
    roles = [*wishes.readers, *wishes.trusted]
    cursor.execute(
        "select string_agg(name, ', ') from unnest(%s::text[]) as name"
        " where not exists (select from pg_roles where rolname = name)",
        (roles,),
    )
    row = cursor.fetchone()
    if row is not None and row[0] is not None:
        raise ChtSyncError(f"{row[0]}: no such role in PostgreSQL", hint=NOTHING_CHANGED)
    return old_schema_of(cursor, wishes.old_schema)


def _is_ours(cursor: Cursor) -> bool | None:
    """Whether the schema is ours, or is empty and may be; None where there is none.

    Of a role that is not trusted it is not, whatever its comment says.
    """
    cursor.execute(
        """
        select (rolsuper or rolname = current_user) and (
          obj_description(pg_namespace.oid, 'pg_namespace') is not distinct from %s
          or not exists (select from pg_class where relnamespace = pg_namespace.oid)
            and not exists (select from pg_proc where pronamespace = pg_namespace.oid))
        from pg_namespace join pg_roles on pg_roles.oid = nspowner where nspname = %s
        """,
        (MARK, SCHEMA),
    )
    row = cursor.fetchone()
    return row[0] if row else None


def _check_is_ours(cursor: Cursor) -> None:
    if not _is_ours(cursor):
        raise ChtSyncError(
            f"the schema {SCHEMA} is there, and was not made by this command",
            hint=f"Let its owner give it another name: alter schema {SCHEMA} rename to {SCHEMA}_old. "
            f"{NOTHING_CHANGED}",
        )


def _refuse_views_in_place_of_tables(cursor: Cursor) -> None:
    cursor.execute(
        """
        select relname from pg_class join pg_namespace on pg_namespace.oid = relnamespace
        where nspname = %s and relname = any (%s) and relkind <> 'r'
        """,
        (SCHEMA, [PARTS, READERS]),
    )
    row = cursor.fetchone()
    if row is not None:
        raise ChtSyncError(
            f"{SCHEMA}.{row[0]} was not made by this command, which keeps a table of that name there",
            hint=f"Give it another name, or drop it, and run this again. {NOTHING_CHANGED}",
        )


def _make_schema(cursor: Cursor, report: Report, user: str) -> None:
    schema = sql.Identifier(SCHEMA)
    if _is_ours(cursor) is None:
        try:
            cursor.execute(sql.SQL("create schema {}").format(schema))
        except psycopg2.errors.InsufficientPrivilege as error:
            raise ChtSyncError(
                f"the schema {SCHEMA} cannot be made: {said(error)}",
                hint="Let the owner of the database, or a superuser, run, and then run this again: "
                f"create schema {SCHEMA} authorization {sql.Identifier(user).as_string(cursor)}",
            ) from error
        report.done.append(f"schema {SCHEMA}: made")
    table = sql.Identifier(SCHEMA, PARTS)
    if oid_of(cursor, SCHEMA, PARTS) is None:
        cursor.execute(sql.SQL("comment on schema {} is %s").format(schema), (MARK,))
        cursor.execute(
            sql.SQL("create table {} (name text primary key, made_of text not null, origin text)").format(
                table
            )
        )
        cursor.execute(
            sql.SQL("comment on table {} is %s").format(table),
            ("What cht-sync migrate views made here; origin: the schema that a view was carried over from.",),
        )


def _drop_schema(cursor: Cursor) -> None:
    recorded: set[str] = set()
    if oid_of(cursor, SCHEMA, PARTS) is not None:
        cursor.execute(sql.SQL("select name from {}").format(sql.Identifier(SCHEMA, PARTS)))
        recorded = {PARTS, READERS, *(name for (name,) in cursor.fetchall())}
    cursor.execute(
        """
        select pg_class.oid::bigint, nspname, relname, relkind::text
        from pg_class join pg_namespace on pg_namespace.oid = relnamespace
        where nspname = %s and relkind not in ('i', 'I', 't', 'c')
        """,
        (SCHEMA,),
    )
    inside = [Found(*row) for row in cursor.fetchall()]
    reading = readers(cursor, [one.oid for one in inside])
    cursor.execute(
        "select oid::regprocedure::text from pg_proc where pronamespace = %s::regnamespace", (SCHEMA,)
    )
    functions = [name for (name,) in cursor.fetchall()]
    strangers = [f"{SCHEMA}.{one.name}" for one in inside if one.name not in recorded]
    strangers += [f"{one.schema}.{one.name}" for one in reading if one.schema != SCHEMA]
    strangers += [name for name in functions if name.removeprefix(f"{SCHEMA}.") not in recorded]
    if strangers:
        raise ChtSyncError(
            f"{', '.join(strangers)} would be lost: this command did not make it",
            hint=f"Move it away, or drop it, and run this again. {NOTHING_CHANGED}",
        )
    levels = {one.oid: place for place, one in enumerate(reading)}
    for one in sorted(inside, key=lambda one: levels.get(one.oid, -1), reverse=True):
        if one.kind in KINDS:
            drop(cursor, one)
    for name in functions:
        cursor.execute(f"drop function {name}")
    if recorded:
        for table in (PARTS, READERS):
            cursor.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(SCHEMA, table)))
    cursor.execute(sql.SQL("drop schema {}").format(sql.Identifier(SCHEMA)))
