"""Whether two relations have the same rows, as far as they have the same columns.

All functions raise psycopg2.Error when the connection is lost; what else fails is in the finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from cht_sync.migrate.relations import attempt, columns, oid_of, said
from cht_sync.migrate.trust import Foreign, Trust

OF_STORING = frozenset({"saved_timestamp", "@timestamp"})
"""Columns that say when a program stored a row: no two agree on that."""
WITHOUT_EQUALITY = frozenset({"json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle"})
"""Types that PostgreSQL cannot compare, or compares by their size; their text is compared."""

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
_ALL_ROWS = "with rows as materialized (select {columns} from {relation}) select count(*) from rows"
OF_DATA = frozenset({"21", "22"})
"""Classes of errors that come of what is in the rows."""


@dataclass(frozen=True)
class ViewFinding:
    """One relation. `only_old` and `only_new` are rows that the other side lacks.

    None where nothing was compared; `note` says why, or what else is to be known. `fault`: something is wrong
    whatever the rows are. `reads` are the tables whose rows it shows, as people write them; None: not known.
    """

    name: str
    rows_old: int | None
    rows_new: int | None
    only_old: int | None
    only_new: int | None
    note: str | None
    fault: bool = False
    reads: frozenset[str] | None = field(default=None, compare=False)

    @property
    def same(self) -> bool:
        """Whether both sides have the same rows, as far as their columns are the same."""
        return self.only_old == 0 and self.only_new == 0

    @property
    def differs(self) -> bool:
        """Whether rows were compared, and are not the same."""
        return self.only_old is not None and not self.same

    def may_read(self, relation: str) -> bool:
        """Whether it may show rows of this table."""
        return self.reads is None or relation in self.reads


@dataclass(frozen=True)
class Place:
    """Where rows are."""

    schema: str
    name: str
    oid: int

    @property
    def identifier(self) -> sql.Identifier:
        """Its name in SQL."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True)
class OldOne:
    """One of the old side: where its rows are, or why it is not computed (`note`).

    `error` is what kept it from being computed, where that was tried. `needed`: it shows what came from the
    old program, so that the new side must have it. `reads` as in ViewFinding.
    """

    name: str
    place: Place | None
    note: str | None = None
    error: psycopg2.Error | None = None
    needed: bool = True
    reads: frozenset[str] | None = None


def finding(cursor: Cursor, one: OldOne, new_schema: str, trusted: Trust) -> ViewFinding:
    """Compare an old one with the one of its name in `new_schema`."""
    name, old, number = one.name, one.place, oid_of(cursor, new_schema, one.name)
    if number is None:
        why = f": {one.note}" if one.note else ""
        return _not_compared(name, f"{new_schema} has no {name}{why}", fault=one.needed)
    new = Place(new_schema, name, number)
    if _is_view(cursor, number) and (note := not_run(trusted.foreign(cursor, number))):
        return _not_compared(name, one.note or f"{note} (in {new_schema})", fault=False)
    if old is None:
        fault = one.error is not None and _is_fault(cursor, one.error, new)
        return _not_compared(name, one.note or "", fault=fault)
    old_types, new_types = dict(columns(cursor, old.oid)), dict(columns(cursor, new.oid))
    shared = [column for column in old_types if column in new_types and column not in OF_STORING]
    lost = [column for column in old_types if column not in new_types]
    added = [column for column in new_types if column not in old_types]
    notes = [
        f"only in {where}: {', '.join(some)}"
        for where, some in (("the old one", lost), ("the new one", added))
        if some
    ]
    if not shared:
        return _not_compared(name, "no column is in both", fault=one.needed)
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
        unless_lost(cursor, error)
        return _not_compared(name, f"cannot be compared: {said(error)}", fault=_is_fault(cursor, error, new))
    return ViewFinding(
        name, rows_old, rows_new, only_old, only_new, "; ".join(notes) or None, one.needed and bool(lost)
    )


def _not_compared(name: str, note: str, *, fault: bool) -> ViewFinding:
    return ViewFinding(name, None, None, None, None, note, fault)


def _is_fault(cursor: Cursor, error: psycopg2.Error, new: Place) -> bool:
    """Whether something is wrong here where two could not be compared.

    Nothing is where the old one fails because of its own rows, and the new one can be read.
    """
    if (error.pgcode or "")[:2] not in OF_DATA:
        return True
    try:
        with attempt(cursor):
            names = [sql.Identifier(name) for name, _type in columns(cursor, new.oid)]
            cursor.execute(
                sql.SQL(_ALL_ROWS).format(columns=sql.SQL(", ").join(names), relation=new.identifier)
            )
    except psycopg2.Error as failure:
        unless_lost(cursor, failure)
        return True
    return False


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


def not_run(foreign: Sequence[Foreign]) -> str | None:
    """Why a view is not computed that would run this; None where it is."""
    return f"{foreign[0]}, whose SQL is not run here" if foreign else None


def unless_lost(cursor: Cursor, error: psycopg2.Error) -> None:
    """Raise the error where the connection is lost."""
    if cursor.connection.closed:
        raise error
