"""What is there of that which init-db makes, and what is missing of it: asked, never changed.

All functions raise psycopg2.Error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.settings import Settings
from cht_sync.values import OWN_TABLES


@dataclass(frozen=True)
class Stored:
    """The row of a source in `couchdb_progress`, and how many seconds ago a writer gave a sign of life."""

    sequence: str | None
    pending: int | None
    silent_seconds: float
    server_uuid: str | None
    instance_start_time: str | None
    rereading: bool
    problem: str | None


def layout_there(connection: Connection, schema: str) -> str | None:
    """The version of the layout; None where init-db has not run."""
    if not _exists(connection, schema, "cht_sync_state"):
        return None
    query = sql.SQL("select layout_version from {}").format(sql.Identifier(schema, "cht_sync_state"))
    with connection.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
    return None if row is None else str(row[0])


def missing_relations(connection: Connection, settings: Settings) -> list[str]:
    """The tables and views that are not there: our own, those of the databases, and what models read."""
    wanted = (*OWN_TABLES, *settings.couchdb_dbs, *_views(settings))
    return [name for name in wanted if not _exists(connection, settings.postgres_schema, name)]


def has_schema(connection: Connection, schema: str) -> bool:
    """Whether there is a schema of that name."""
    with connection.cursor() as cursor:
        cursor.execute("select to_regnamespace(quote_ident(%s)) is not null", (schema,))
        return cursor.fetchone() == (True,)


def _views(settings: Settings) -> tuple[str, ...]:
    """The views over all databases: one, and POSTGRES_TABLE where that names no database."""
    named = settings.postgres_table
    return ("all_documents",) if named in settings.couchdb_dbs else ("all_documents", named)


def missing_roles(connection: Connection, settings: Settings) -> list[str]:
    """The roles of this installation that do not exist."""
    roles = [
        settings.authenticator_role,
        settings.anonymous_role,
        settings.ingest_role,
        settings.dbt_role,
        settings.superset_role,
    ]
    with connection.cursor() as cursor:
        cursor.execute("select rolname from pg_roles where rolname = any(%s)", (roles,))
        there = {name for (name,) in cursor.fetchall()}
    return [role for role in roles if role not in there]


def missing_rights(connection: Connection, settings: Settings) -> list[str]:
    """What roles that are there may not and must, as `<role>: <right> on <object>`, of what is there."""
    absent = {*missing_roles(connection, settings)}
    found = []
    with connection.cursor() as cursor:
        for role, right, on, query, values in _wanted(connection, settings):
            if role in absent:
                continue
            cursor.execute(query, values)
            if cursor.fetchone() == (False,):
                found.append(f"{role}: {right} on {on}")
    return found


def stored_positions(connection: Connection, schema: str, sources: Sequence[str]) -> Mapping[str, Stored]:
    """The positions by source; one that was never read is left out."""
    query = sql.SQL("""
        select source, seq, pending, extract(epoch from clock_timestamp() - updated_at)::float8,
          server_uuid, instance_start_time, rereading, problem
        from {} where source = any(%s)
    """).format(sql.Identifier(schema, "couchdb_progress"))
    with connection.cursor() as cursor:
        cursor.execute(query, (list(sources),))
        return {source: Stored(*row) for source, *row in cursor.fetchall()}


def open_letters(connection: Connection, schema: str) -> Mapping[str, int]:
    """How many dead letters are open, by database; those without any are left out."""
    query = sql.SQL("select database, count(*) from {} where closed_at is null group by database order by 1")
    with connection.cursor() as cursor:
        cursor.execute(query.format(sql.Identifier(schema, "dead_letters")))
        return dict(cursor.fetchall())


def clock(connection: Connection) -> float:
    """The server's time in seconds since the epoch."""
    with connection.cursor() as cursor:
        cursor.execute("select extract(epoch from clock_timestamp())::float8")
        ((seconds,),) = cursor.fetchall()
    return float(seconds)


def _wanted(
    connection: Connection, settings: Settings
) -> Iterator[tuple[str, str, str, str, tuple[str, ...]]]:
    """Role, right, object, and the query that says whether it is there with its values."""
    raw, models = settings.postgres_schema, settings.dbt_postgres_schema
    ingest, dbt, superset = settings.ingest_role, settings.dbt_role, settings.superset_role
    authenticator = settings.authenticator_role
    for role in (authenticator, dbt, superset):
        yield (
            role,
            "connect",
            f"database {settings.postgres_db}",
            "select has_database_privilege(%s, current_database(), 'connect')",
            (role,),
        )
    for role in (settings.anonymous_role, ingest):
        yield (
            authenticator,
            "membership",
            f"role {role}",
            "select pg_has_role(r.oid, m.oid, 'member') from pg_roles r, pg_roles m "
            "where r.rolname = %s and m.rolname = %s",
            (authenticator, role),
        )
    for role, right, schema in (
        (ingest, "usage", raw),
        (dbt, "usage", raw),
        (dbt, "usage", models),
        (dbt, "create", models),
        (superset, "usage", models),
    ):
        yield (
            role,
            right,
            f"schema {schema}",
            "select has_schema_privilege(%s, oid, %s) from pg_namespace where nspname = %s",
            (role, right, schema),
        )
    written = ("select", "insert", "update")
    for role, schema, tables, rights in (
        (ingest, raw, settings.couchdb_dbs, written),
        (ingest, raw, ("couchdb_progress",), ("select",)),
        (ingest, raw, ("cht_sync_heartbeats",), written),
        (ingest, raw, ("dead_letters", "replaced_values"), ("select", "insert")),
        (dbt, raw, (*settings.couchdb_dbs, *OWN_TABLES, *_views(settings)), ("select",)),
        (superset, models, _relations(connection, models, dbt), ("select",)),
    ):
        for table in tables:
            for right in rights:
                yield (
                    role,
                    right,
                    f"{schema}.{table}",
                    "select has_table_privilege(%s, to_regclass(format('%%I.%%I', %s::text, %s::text)), %s)",
                    (role, schema, table, right),
                )


def _relations(connection: Connection, schema: str, owner: str) -> list[str]:
    """The tables and views of a schema that belong to a role."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select relname from pg_class where relnamespace = to_regnamespace(quote_ident(%s)) "
            "and relkind in ('r', 'v', 'm') and pg_get_userbyid(relowner) = %s order by 1",
            (schema, owner),
        )
        return [name for (name,) in cursor.fetchall()]


def _exists(connection: Connection, schema: str, name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "select to_regclass(format('%%I.%%I', %s::text, %s::text)) is not null", (schema, name)
        )
        return cursor.fetchone() == (True,)
