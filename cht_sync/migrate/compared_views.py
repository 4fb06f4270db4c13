"""Whether a view of an old program gives the same rows as the one that took its place.

The old side is only read. What couch2pg had materialised may be old itself, so it is computed anew, in
temporary relations that are gone at the end of the transaction: such a one is found before any other of its
name, so that views over views read what is fresh.

Nothing is computed that would run SQL of roles that are not trusted (`cht_sync.migrate.trust`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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
    columns,
    made,
    oid_of,
    readers,
    reads,
    said,
)
from cht_sync.migrate.trust import Foreign, Trust, trust

TEMPORARY = "pg_temp"
OF_STORING = frozenset({"saved_timestamp", "@timestamp"})
"""Columns that say when a program stored a row: no two agree on that."""
WITHOUT_EQUALITY = frozenset({"json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle"})
"""Types that PostgreSQL cannot compare, or compares by their size; their text is compared."""

_RELATIONS = """
    select relname, pg_class.oid::bigint, relkind::text
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = %s and relkind in ('r', 'p', 'v', 'm') and not relispartition and relname <> all (%s)
    order by relname
"""
_OWNERS = """
    select pg_get_userbyid(relowner)::text from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = %s and relname = any (%s) and relkind in ('r', 'p')
      and exists (select from pg_attribute where attrelid = pg_class.oid and attname = 'doc')
"""
_OWN_TYPES = """
    select attname from pg_attribute join pg_type on pg_type.oid = atttypid
    where attrelid = %s and attnum > 0 and typnamespace <> 'pg_catalog'::regnamespace
"""
_COMPARED = """
    with old as materialized (select {old_columns} from {old}),
      new as materialized (select {new_columns} from {new})
    select (select count(*) from old), (select count(*) from new),
      (select count(*) from (select * from old except all select * from new) as _),
      (select count(*) from (select * from new except all select * from old) as _)
"""


@dataclass(frozen=True)
class ViewFinding:
    """One relation. `only_old` and `only_new` are rows that the other side lacks.

    None where nothing was compared; `note` says why, or what else is to be known.
    """

    name: str
    rows_old: int | None
    rows_new: int | None
    only_old: int | None
    only_new: int | None
    note: str | None

    @property
    def same(self) -> bool:
        """Whether both sides have the same rows, as far as their columns are the same."""
        return self.only_old == 0 and self.only_new == 0

    @property
    def differs(self) -> bool:
        """Whether rows were compared, and are not the same."""
        return self.only_old is not None and not self.same


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
    but those in `without`, over the columns that both sides have. `without` names the tables of documents:
    who owns them all is trusted. One transaction, which is undone. Needs the right to read both sides, and
    to make temporary tables; `connection` must not be in a transaction. A relation that cannot be compared
    is in the findings. Raises psycopg2.Error when the connection is lost.
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
        return [_finding(cursor, one, new_schema, trusted) for one in found]


@dataclass(frozen=True)
class _Place:
    schema: str
    name: str
    oid: int

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


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


@dataclass(frozen=True)
class _Old:
    """One of the old side: where its rows are, or why it is not computed (`note`)."""

    name: str
    place: _Place | None
    note: str | None = None


def _not_run(foreign: Sequence[Foreign]) -> str | None:
    return f"not compared: {foreign[0]}, whose SQL is not run here" if foreign else None


def _stored(cursor: Cursor, schema: str, trusted: Trust, without: Collection[str]) -> list[_Old]:
    """What is beside the tables of documents of other programs. Of these a view alone is computed."""
    cursor.execute(_RELATIONS, (schema, list(without)))
    found = []
    for name, oid, kind in cursor.fetchall():
        note = _not_run(trusted.foreign(cursor, oid)) if kind == "v" else None
        found.append(_Old(name, None if note else _Place(schema, name, oid), note))
    return found


def _fresh(
    cursor: Cursor, schema: str, new_schema: str, trusted: Trust, without: Collection[str]
) -> tuple[list[_Old], Trust]:
    """Make each view of couch2pg's anew, but those without a counterpart.

    Also return the trust with those roles of whom the operator has had views carried over.
    """
    tables = [oid for oid, _name, _owner in old_tables(cursor, schema)]
    wanted = [
        one
        for one in readers(cursor, tables)
        if one.schema == schema and one.kind in KINDS and one.name not in without
    ]
    # All definitions first: beside a temporary relation of its name the old one would be given its schema.
    definitions = [made(cursor, one.oid, path=[schema]) for one in wanted]
    carried_over = _carried_over(cursor, schema, new_schema, trusted)
    found: list[_Old] = []
    missing: dict[int, str] = {}
    allowed = trusted
    for one, definition in zip(wanted, definitions, strict=True):
        foreign = trusted.foreign(cursor, one.oid)
        if carried_over.get(one.name) == definition.made_of:
            allowed = allowed.also([each.role for each in foreign])
            foreign = []
        # What it reads would be the one of the old schema: as it was, and of whoever wrote it.
        lacking = [missing[oid] for oid in sorted(missing.keys() & reads(cursor, one.oid))]
        if oid_of(cursor, new_schema, one.name) is None:
            made_anew = _Old(one.name, None, f"{new_schema} has no {one.name}")
        elif foreign:
            made_anew = _Old(one.name, None, _not_run(foreign))
        elif lacking:
            made_anew = _Old(one.name, None, f"not compared: it reads {lacking[0]}, which is not computed")
        else:
            made_anew = _made_anew(cursor, schema, one, definition)
        if made_anew.place is None:
            missing[one.oid] = one.name
        found.append(made_anew)
    return sorted(found, key=lambda one: one.name), allowed


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


def _made_anew(cursor: Cursor, schema: str, one: Found, definition: Made) -> _Old:
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
        return _Old(one.name, _Place(TEMPORARY, one.name, oid))
    except psycopg2.Error as error:
        _unless_lost(cursor, error)
        return _Old(one.name, None, f"its rows cannot be computed: {said(error)}")


def _finding(cursor: Cursor, one: _Old, new_schema: str, trusted: Trust) -> ViewFinding:
    name, old, number = one.name, one.place, oid_of(cursor, new_schema, one.name)
    if number is None:
        return ViewFinding(name, None, None, None, None, f"{new_schema} has no {name}")
    if old is None:
        return ViewFinding(name, None, None, None, None, one.note)
    new = _Place(new_schema, name, number)
    if _is_view(cursor, number) and (note := _not_run(trusted.foreign(cursor, number))):
        return ViewFinding(name, None, None, None, None, f"{note} (in {new_schema})")
    old_types, new_types = dict(columns(cursor, old.oid)), dict(columns(cursor, new.oid))
    shared = [column for column in old_types if column in new_types and column not in OF_STORING]
    notes = [
        f"only in {where}: {', '.join(lacking)}"
        for where, lacking in (
            ("the old one", [column for column in old_types if column not in new_types]),
            ("the new one", [column for column in new_types if column not in old_types]),
        )
        if lacking
    ]
    if not shared:
        return ViewFinding(name, None, None, None, None, "no column is in both")
    try:
        with attempt(cursor):
            cursor.execute(
                sql.SQL(_COMPARED).format(
                    old=old.identifier,
                    new=new.identifier,
                    old_columns=_compared(cursor, old.oid, shared, old_types, new_types),
                    new_columns=_compared(cursor, new.oid, shared, new_types, old_types),
                )
            )
            ((rows_old, rows_new, only_old, only_new),) = cursor.fetchall()
    except psycopg2.Error as error:
        _unless_lost(cursor, error)
        return ViewFinding(name, None, None, None, None, f"cannot be compared: {said(error)}")
    return ViewFinding(name, rows_old, rows_new, only_old, only_new, "; ".join(notes) or None)


def _compared(
    cursor: Cursor, oid: int, names: Sequence[str], types: dict[str, str], others: dict[str, str]
) -> sql.Composable:
    """The columns, as text where both sides cannot be compared as they are."""
    cursor.execute(_OWN_TYPES, (oid,))
    own = {name for (name,) in cursor.fetchall()}

    def is_text(name: str) -> bool:
        return types[name] != others[name] or types[name].removesuffix("[]") in WITHOUT_EQUALITY

    def expression(name: str) -> str:
        if not is_text(name):
            return "{0} as {0}"
        # The owner of a type may have written a cast to text, which would be executed as us.
        by_output = "case when {0} is distinct from null then format('%s', {0}) end as {0}"
        return by_output if name in own else "{0}::text as {0}"

    return sql.SQL(", ").join(sql.SQL(expression(name)).format(sql.Identifier(name)) for name in names)


def _is_view(cursor: Cursor, oid: int) -> bool:
    cursor.execute("select relkind = 'v' from pg_class where oid = %s", (oid,))
    return cursor.fetchone() == (True,)


def _quoted(cursor: Cursor, *names: str) -> str:
    return sql.Identifier(*names).as_string(cursor)


def _unless_lost(cursor: Cursor, error: psycopg2.Error) -> None:
    if cursor.connection.closed:
        raise error
