"""Whether a view of an old program gives the same rows as the one that took its place.

The old side is only read. What couch2pg had materialised may be old itself, so it is computed anew, in
temporary relations that are gone at the end of the transaction: such a one is found before any other of its
name, so that views over views read what is fresh.

Nothing is computed that would run SQL of roles that are not trusted (`cht_sync.migrate.trust`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from cht_sync.migrate.carried_over import old_tables
from cht_sync.migrate.making import PARTS
from cht_sync.migrate.old import Program
from cht_sync.migrate.relations import (
    KINDS,
    Found,
    Made,
    attempt,
    made,
    oid_of,
    readers,
    reads,
    said,
    tables_read,
)
from cht_sync.migrate.trust import Foreign, Trust, options, trust
from cht_sync.migrate.view_finding import OldOne, Place, ViewFinding, finding, not_run, unless_lost

TEMPORARY = "pg_temp"
_RELATIONS = """
    select relname, pg_class.oid::bigint, relkind::text
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = %s and relkind in ('r', 'p', 'v', 'm') and not relispartition and relname <> all (%s)
      and not exists (select from pg_depend
        where classid = 'pg_class'::regclass and objid = pg_class.oid and deptype = 'e')
    order by relname
"""
_OWNERS = """
    select pg_get_userbyid(relowner)::text from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = %s and relname = any (%s) and relkind in ('r', 'p')
      and exists (select from pg_attribute where attrelid = pg_class.oid and attname = 'doc')
"""


def compare_views(
    connection: Connection,
    *,
    old_schema: str,
    new_schema: str,
    old_program: Program,
    without: Collection[str] = (),
) -> list[ViewFinding]:
    """Compare what reads an old program's documents with the relations of the same names in `new_schema`.

    Of couch2pg these are its views and the operator's own; of others every table and view of `old_schema`
    but those in `without`, and of extensions, over the columns that both sides have. `without` names the
    tables of documents: who owns them all is trusted. One transaction, which is undone. Needs the right to
    read both sides, and to make temporary tables; `connection` must not be in a transaction. A relation that
    cannot be compared is in the findings. Raises psycopg2.Error when the connection is lost.
    """
    with _snapshot(connection) as cursor:
        if old_program is Program.COUCH2PG:
            tables = old_tables(cursor, old_schema)
            trusted = trust(cursor, [owner for _oid, _name, owner in tables])
            found, trusted = _fresh(cursor, old_schema, new_schema, trusted, without)
        else:
            cursor.execute(_OWNERS, (old_schema, list(without)))
            trusted = trust(cursor, [owner for (owner,) in cursor.fetchall()])
            found = _stored(cursor, old_schema, trusted, without)
        cursor.execute(
            "select pg_get_userbyid(nspowner)::text from pg_namespace where nspname = %s", (new_schema,)
        )
        trusted = trusted.also([owner for (owner,) in cursor.fetchall()])
        return [replace(finding(cursor, one, new_schema, trusted), reads=one.reads) for one in found]


@contextmanager
def _snapshot(connection: Connection) -> Iterator[Cursor]:
    """Both sides at one moment."""
    before = connection.autocommit
    connection.autocommit = False
    try:
        with connection.cursor() as cursor:
            cursor.execute("set transaction isolation level repeatable read")
            cursor.execute("set local statement_timeout = 0")
            cursor.execute("set local client_min_messages = warning")
            yield cursor
    finally:
        if not connection.closed:
            connection.rollback()
            connection.autocommit = before


def _stored(cursor: Cursor, schema: str, trusted: Trust, without: Collection[str]) -> list[OldOne]:
    """What is beside the tables of documents of other programs. Of these a view alone is computed."""
    cursor.execute(_RELATIONS, (schema, list(without)))
    there = cursor.fetchall()
    names = {*without, *(name for name, _oid, _kind in there)}
    found = []
    for name, oid, kind in there:
        note = not_run(trusted.foreign(cursor, oid)) if kind == "v" else None
        needed = any(one.schema == schema and one.name in names for one in tables_read(cursor, oid))
        found.append(OldOne(name, None if note else Place(schema, name, oid), note, needed=needed))
    return found


def _fresh(
    cursor: Cursor, schema: str, new_schema: str, trusted: Trust, without: Collection[str]
) -> tuple[list[OldOne], Trust]:
    """Make each view of couch2pg's anew, but those without a counterpart.

    Also return the trust with those roles of whom the operator has had views carried over.
    """
    tables = {oid: f"{schema}.{name}" for oid, name, _owner in old_tables(cursor, schema)}
    wanted = [
        one
        for one in readers(cursor, tables)
        if one.schema == schema and one.kind in KINDS and one.name not in without
    ]
    # All definitions first: beside a temporary relation of its name the old one would be given its schema.
    definitions = [made(cursor, one.oid, path=[schema]) for one in wanted]
    carried_over = _carried_over(cursor, schema, new_schema, trusted)
    found: list[OldOne] = []
    missing: dict[int, OldOne] = {}
    allowed = trusted
    for one, definition in zip(wanted, definitions, strict=True):
        foreign = trusted.foreign(cursor, one.oid)
        if carried_over.get(one.name) == definition.made_of:
            allowed = allowed.also([each.role for each in foreign])
            foreign = []
        # What it reads would be the one of the old schema: as it was, and of whoever wrote it.
        lacking = [missing[oid] for oid in sorted(missing.keys() & reads(cursor, one.oid))]
        if oid_of(cursor, new_schema, one.name) is None:
            made_anew = OldOne(one.name, None, _not_carried_over(foreign))
        elif foreign:
            made_anew = OldOne(one.name, None, not_run(foreign))
        elif lacking:
            first = lacking[0]
            made_anew = OldOne(
                one.name, None, f"it reads {first.name}, which is not computed", error=first.error
            )
        else:
            made_anew = _made_anew(cursor, schema, one, definition)
        if made_anew.place is None:
            missing[one.oid] = made_anew
        read = frozenset(tables[each.oid] for each in tables_read(cursor, one.oid) if each.oid in tables)
        found.append(replace(made_anew, reads=read))
    return sorted(found, key=lambda one: one.name), allowed


def _not_carried_over(foreign: Sequence[Foreign]) -> str | None:
    if not foreign:
        return None
    return f"{foreign[0]}; read its SQL, then: cht-sync migrate views {options(foreign)}"


def _carried_over(cursor: Cursor, schema: str, new_schema: str, trusted: Trust) -> dict[str, str]:
    """What each view was made of when it was carried over; only we can have written that down."""
    cursor.execute(
        "select pg_get_userbyid(relowner)::text from pg_class where oid = %s",
        (oid_of(cursor, new_schema, PARTS),),
    )
    if not trusted.roles & {owner for (owner,) in cursor.fetchall()}:
        return {}
    recorded = sql.SQL("select name, made_of from {} where origin = %s")
    cursor.execute(recorded.format(sql.Identifier(new_schema, PARTS)), (schema,))
    return dict(cursor.fetchall())


def _made_anew(cursor: Cursor, schema: str, one: Found, definition: Made) -> OldOne:
    # A materialised view is one here, too: others may read it many times.
    kind = "view" if one.kind == "v" else "table"
    create = sql.SQL(f"create temporary {kind} {{}} as ").format(sql.Identifier(one.name))
    try:
        with attempt(cursor):
            cursor.execute(sql.SQL("set local search_path = pg_temp, {}").format(sql.Identifier(schema)))
            cursor.execute(create.as_string(cursor) + definition.query)
            if kind == "table":
                cursor.execute(sql.SQL("analyze {}").format(sql.Identifier(TEMPORARY, one.name)))
        cursor.execute("select %s::regclass::oid::bigint", (_quoted(cursor, TEMPORARY, one.name),))
        ((oid,),) = cursor.fetchall()
        return OldOne(one.name, Place(TEMPORARY, one.name, oid))
    except psycopg2.Error as error:
        unless_lost(cursor, error)
        return OldOne(one.name, None, f"its rows cannot be computed: {said(error)}", error=error)


def _quoted(cursor: Cursor, *names: str) -> str:
    return sql.Identifier(*names).as_string(cursor)
