"""Whether a view of an old program gives the same rows as the one that took its place.

The old side is only read. What couch2pg had materialised may be old itself, so it is computed anew, in
temporary relations that are gone at the end of the transaction: such a one is found before any other of its
name, so that views over views read what is fresh.
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
from cht_sync.migrate.relations import KINDS, attempt, columns, made, oid_of, readers, said

COUCH2PG = "couch2pg"
TEMPORARY = "pg_temp"
OF_STORING = frozenset({"saved_timestamp", "@timestamp"})
"""Columns that say when a program stored a row: no two agree on that."""
WITHOUT_EQUALITY = frozenset({"json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle"})
"""Types that PostgreSQL cannot compare, or compares by their size; their text is compared."""

_RELATIONS = """
    select relname, pg_class.oid::bigint from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = %s and relkind in ('r', 'p', 'v', 'm') and not relispartition and relname <> all (%s)
    order by relname
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
    old_program: str,
    without: Collection[str] = (),
) -> list[ViewFinding]:
    """Compare what reads an old program's documents with the relations of the same names in `new_schema`.

    Of "couch2pg" these are its views and the operator's own; of others every table and view of `old_schema`
    but those in `without`, over the columns that both sides have. One transaction, which is undone. Needs
    the right to read both sides; `connection` must not be in a transaction. A relation that cannot be
    compared is in the findings. Raises psycopg2.Error when the connection is lost.
    """
    with _snapshot(connection) as cursor:
        if old_program == COUCH2PG:
            found = _fresh(cursor, old_schema, without)
        else:
            cursor.execute(_RELATIONS, (old_schema, list(without)))
            found = [(name, _Place(old_schema, name, oid), None) for name, oid in cursor.fetchall()]
        return [_finding(cursor, name, old, problem, new_schema) for name, old, problem in found]


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


def _fresh(
    cursor: Cursor, schema: str, without: Collection[str]
) -> list[tuple[str, _Place | None, str | None]]:
    """Make each view of couch2pg's anew; give its name, where its rows are, or why it cannot be made."""
    tables = [oid for oid, _name, _owner in old_tables(cursor, schema)]
    found: list[tuple[str, _Place | None, str | None]] = []
    wanted = [
        one
        for one in readers(cursor, tables)
        if one.schema == schema and one.kind in KINDS and one.name not in without
    ]
    # All definitions first: beside a temporary relation of its name the old one would be given its schema.
    queries = [made(cursor, one.oid, path=[schema]).query for one in wanted]
    for one, query in zip(wanted, queries, strict=True):
        # A materialised view is one here, too: others may read it many times.
        kind = "view" if one.kind == "v" else "table"
        create = sql.SQL(f"create temporary {kind} {{}} as ").format(sql.Identifier(one.name))
        try:
            with attempt(cursor):
                cursor.execute(sql.SQL("set local search_path = pg_temp, {}").format(sql.Identifier(schema)))
                cursor.execute(create.as_string(cursor) + query)
                if kind == "table":
                    cursor.execute(sql.SQL("analyze {}").format(sql.Identifier(TEMPORARY, one.name)))
            cursor.execute("select %s::regclass::oid::bigint", (_quoted(cursor, TEMPORARY, one.name),))
            ((oid,),) = cursor.fetchall()
            found.append((one.name, _Place(TEMPORARY, one.name, oid), None))
        except psycopg2.Error as error:
            _unless_lost(cursor, error)
            found.append((one.name, None, f"its rows cannot be computed: {said(error)}"))
    return sorted(found)


def _finding(
    cursor: Cursor, name: str, old: _Place | None, problem: str | None, new_schema: str
) -> ViewFinding:
    number = oid_of(cursor, new_schema, name)
    if old is None or number is None:
        note = problem or f"{new_schema} has no {name}"
        return ViewFinding(name, None, None, None, None, note)
    new = _Place(new_schema, name, number)
    old_types, new_types = dict(columns(cursor, old.oid)), dict(columns(cursor, new.oid))
    shared = [one for one in old_types if one in new_types and one not in OF_STORING]
    notes = [
        f"only in {where}: {', '.join(lacking)}"
        for where, lacking in (
            ("the old one", [one for one in old_types if one not in new_types]),
            ("the new one", [one for one in new_types if one not in old_types]),
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
                    old_columns=_compared(shared, old_types, new_types),
                    new_columns=_compared(shared, new_types, old_types),
                )
            )
            ((rows_old, rows_new, only_old, only_new),) = cursor.fetchall()
    except psycopg2.Error as error:
        _unless_lost(cursor, error)
        return ViewFinding(name, None, None, None, None, f"cannot be compared: {said(error)}")
    return ViewFinding(name, rows_old, rows_new, only_old, only_new, "; ".join(notes) or None)


def _compared(names: Sequence[str], types: dict[str, str], others: dict[str, str]) -> sql.Composable:
    """The columns, as text where both sides cannot be compared as they are."""

    def is_text(name: str) -> bool:
        return types[name] != others[name] or types[name].removesuffix("[]") in WITHOUT_EQUALITY

    return sql.SQL(", ").join(
        sql.SQL("{}::text as {}" if is_text(name) else "{} as {}").format(
            sql.Identifier(name), sql.Identifier(name)
        )
        for name in names
    )


def _quoted(cursor: Cursor, *names: str) -> str:
    return sql.Identifier(*names).as_string(cursor)


def _unless_lost(cursor: Cursor, error: psycopg2.Error) -> None:
    if cursor.connection.closed:
        raise error
