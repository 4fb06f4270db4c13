"""Making the parts of the schema `couch2pg`, and again those that read what is made anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from cht_sync.errors import ChtSyncError
from cht_sync.migrate.built_in_views import BuiltIn, names
from cht_sync.migrate.relations import (
    KINDS,
    Found,
    Made,
    attempt,
    drop,
    made,
    oid_of,
    readers,
    said,
    search_path,
)
from cht_sync.migrate.trust import trust
from cht_sync.transform.couch2pg import SCHEMA

PARTS = "cht_sync_parts"
"""The table of what is made: names, and what they were made of; `origin` is told of what was carried over."""
NOTHING_CHANGED = "Nothing was changed."


@dataclass
class Report:
    """What was done, a line for each thing, and what could not be done."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)
    """What was left as it is, and is worth knowing."""
    origin: str | None = None
    """Where views are carried over from, and whose they are."""


class Making:
    """Makes parts, and takes down and puts back what reads them where they must be dropped first."""

    def __init__(self, cursor: Cursor, report: Report, parts: list[BuiltIn]) -> None:
        self.cursor = cursor
        self._report = report
        self._parts = parts
        self.names = names(parts)
        self._taken_down: list[Made] = []
        self._rights: dict[str, tuple[str, ...]] = {}
        self.new: set[str] = set()
        """Views that were not there when the work began."""
        self._forget_what_is_gone()
        cursor.execute(sql.SQL("select name, made_of from {}").format(sql.Identifier(SCHEMA, PARTS)))
        self.recorded = dict(cursor.fetchall())

    def built_in(self) -> None:
        """Make what is missing or has become other. Raises ChtSyncError where something is in the way."""
        for part in self._parts:
            search_path(self.cursor, SCHEMA)
            if part.kind == "function":
                self._function(part)
            else:
                self._view(part)

    def is_there(self, name: str) -> Found | None:
        """What has the name in our schema; None where nothing has it."""
        self.cursor.execute(
            "select pg_class.oid::bigint, nspname, relname, relkind::text from pg_class"
            " join pg_namespace on pg_namespace.oid = relnamespace where nspname = %s and relname = %s",
            (SCHEMA, name),
        )
        row = self.cursor.fetchone()
        return Found(*row) if row else None

    def record(self, name: str, made_of: str, origin: str | None = None) -> None:
        """Remember what something was made of; `origin` is the schema that it was carried over from."""
        self.cursor.execute(
            sql.SQL("""
                insert into {} (name, made_of, origin) values (%s, %s, %s)
                on conflict (name) do update set (made_of, origin) = (excluded.made_of, excluded.origin)
            """).format(sql.Identifier(SCHEMA, PARTS)),
            (name, made_of, origin),
        )
        self.recorded[name] = made_of

    def take_down(self, found: Found) -> None:
        """Drop a view, and remember all that reads it.

        Raises ChtSyncError where that is outside, or of a stranger: made again it would be ours, and run so.
        """
        others = readers(self.cursor, [found.oid])
        as_they_are = [made(self.cursor, one.oid, path=[SCHEMA]) for one in others]
        ours = trust(self.cursor, []).roles
        if outside := [
            f"{one.schema}.{one.name}"
            for one, as_it_is in zip(others, as_they_are, strict=True)
            if one.schema != SCHEMA or as_it_is.owner not in ours
        ]:
            raise ChtSyncError(
                f"{SCHEMA}.{found.name} has to be made anew, and {', '.join(outside)} would be lost with it",
                hint=f"Drop it, run this again, and make it anew. {NOTHING_CHANGED}",
            )
        self._rights[found.name] = made(self.cursor, found.oid, path=[SCHEMA]).rights
        self._rights |= {one.name: one.rights for one in as_they_are}
        self._taken_down += as_they_are
        for one in [*reversed(others), found]:
            drop(self.cursor, one)

    def give_rights(self, name: str, otherwise: Sequence[str] = ()) -> None:
        """Give a view that was just made the rights that it had, or else these: statements."""
        if name not in self._rights:
            self.new.add(name)
        for statement in self._rights.get(name, otherwise):
            try:
                with attempt(self.cursor):
                    self.cursor.execute(statement)
            except psycopg2.errors.UndefinedColumn:
                pass  # of a column that it has no longer

    def put_back(self) -> None:
        """Make again what was taken down and has not been made since."""
        search_path(self.cursor, SCHEMA)
        for one in self._taken_down:
            if self.is_there(one.name) is not None:
                continue
            try:
                with attempt(self.cursor):
                    for statement in (one.create, *one.indexes, *one.comments, *one.rights):
                        self.cursor.execute(statement)
                self._report.done.append(f"{one.name}: made again, over what it reads")
            except psycopg2.Error as error:
                statements = ";\n".join((one.create, *one.indexes, *one.comments, *one.rights))
                problem = f"{one.name}: cannot be made again: {said(error)}"
                self._report.failed.append(f"{problem}; this is how it was:\n{statements};")

    def _forget_what_is_gone(self) -> None:
        """What was carried over and then dropped may be another's from now on."""
        self.cursor.execute(
            sql.SQL("""
                delete from {} where origin is not null
                  and not exists (select from pg_class
                    where relnamespace = %s::regnamespace and relname = name::name)
            """).format(sql.Identifier(SCHEMA, PARTS)),
            (SCHEMA,),
        )

    def _function(self, part: BuiltIn) -> None:
        self.cursor.execute("select to_regprocedure(%s) is not null", (f"{SCHEMA}.{part.name}",))
        if self.cursor.fetchone() == (True,) and self.recorded.get(part.name) == part.made_of:
            return
        self.cursor.execute(part.create())
        if part.name == "refresh_matviews()":
            self.cursor.execute(sql.SQL("revoke execute on function refresh_matviews() from public"))
        self.record(part.name, part.made_of)
        self._report.done.append(f"{part.name}: function made")

    def _view(self, part: BuiltIn) -> None:
        found = self.is_there(part.name)
        if found is not None and part.name not in self.recorded:
            raise ChtSyncError(
                f"{SCHEMA}.{part.name} was not made by this command",
                hint=f"Move it away, and run this again. {NOTHING_CHANGED}",
            )
        is_right = found is not None and KINDS.get(found.kind) == part.kind
        if not is_right or self.recorded[part.name] != part.made_of:
            self._make(part, found)
            self.record(part.name, part.made_of)
        self._make_indexes(part)

    def _make(self, part: BuiltIn, found: Found | None) -> None:
        if found is not None and found.kind == "v" and part.kind == "view":
            try:
                with attempt(self.cursor):
                    self.cursor.execute(f"create or replace view {part.name} as {part.query}")
                self._report.done.append(f"{part.name}: renewed")
                return
            except psycopg2.errors.InvalidTableDefinition:
                pass  # other columns
        if found is not None:
            self.take_down(found)
        self.cursor.execute(part.create())
        self.give_rights(part.name)
        self._report.done.append(f"{part.name}: {part.kind} {'made' if found is None else 'made anew'}")

    def _make_indexes(self, part: BuiltIn) -> None:
        for name, _columns, _unique in part.indexes:
            if oid_of(self.cursor, SCHEMA, name) is None:
                self.cursor.execute(part.create_index(name))
