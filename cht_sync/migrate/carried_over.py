"""Views and materialised views of the operator's own, made again over the documents of cht-sync.

In the old schema its own names are written without the schema; executed where `couch2pg` is looked into
first, they mean the new relations. Functions and tables of the operator's stay where they are, and are used
there. A view that would still read an old document is not made.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection

import psycopg2
from psycopg2.extensions import cursor as Cursor

from cht_sync.errors import ChtSyncError
from cht_sync.migrate.granting import READERS
from cht_sync.migrate.making import NOTHING_CHANGED, PARTS, Making, Report
from cht_sync.migrate.old import OF_COUCH2PG, PROGRESS
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
    search_path,
)
from cht_sync.migrate.trust import options, trust
from cht_sync.transform.couch2pg import SCHEMA

OLD_TABLES = """
    select pg_class.oid::bigint, nspname, relname, relkind::text, pg_get_userbyid(relowner)
    from pg_class join pg_namespace on pg_namespace.oid = relnamespace
    where relname = any(%s) and relkind in ('r', 'p')
      and array(select format('%%s %%s', attname, format_type(atttypid, atttypmod)) from pg_attribute
        where attrelid = pg_class.oid and attnum > 0 and not attisdropped) = '{doc jsonb}'
"""


class _StillReads(ChtSyncError):
    """A view would read what is old: something between has not been made here."""


def old_schema_of(cursor: Cursor, given: str | None) -> str | None:
    """The schema of couch2pg's table `couchdb`; None where there is none.

    Raises ChtSyncError where `given` has none, or where there are several and none is given.
    """
    cursor.execute(OLD_TABLES, (["couchdb"],))
    found = sorted(schema for _oid, schema, *_rest in cursor.fetchall())
    if given is not None:
        if given not in found:
            there = f"; there is one in {', '.join(found)}" if found else ""
            raise ChtSyncError(
                f"the schema {given} has no table couchdb of couch2pg's{there}",
                hint=f"couch2pg's tables must be in the database of POSTGRES_DB. {NOTHING_CHANGED}",
            )
        return given
    if len(found) > 1:
        raise ChtSyncError(
            f"couch2pg has a table couchdb in each of these schemas: {', '.join(found)}",
            hint="Name the one whose views shall be carried over: "
            f"--from {shlex.quote(found[0])}. {NOTHING_CHANGED}",
        )
    return found[0] if found else None


def old_tables(cursor: Cursor, schema: str) -> list[tuple[int, str, str]]:
    """Number, name and owner of couch2pg's tables of documents there."""
    cursor.execute(OLD_TABLES, (list(OF_COUCH2PG),))
    return [(oid, name, owner) for oid, found, name, _kind, owner in cursor.fetchall() if found == schema]


def origin(cursor: Cursor, schema: str | None) -> str:
    """What views are taken from, and whose SQL is trusted with it; a line for the operator to look at."""
    if schema is None:
        return f"No table couchdb of couch2pg's is in this database: {SCHEMA} has no views of your own"
    owners = sorted({owner for _oid, _name, owner in old_tables(cursor, schema)})
    whose = f"belong to {owners[0]}" if len(owners) == 1 else f"have several owners: {', '.join(owners)}"
    return f"Views of your own are taken from couch2pg's schema {schema}, whose tables {whose}"


class CarryingOver:
    """Carries over what reads couch2pg's tables of documents in `schema`, directly or not.

    What runs SQL of somebody else than their owner, ours, a superuser or who is `trusted` is left: see
    `cht_sync.migrate.trust`.
    """

    def __init__(
        self, cursor: Cursor, schema: str, trusted: Collection[str], making: Making, report: Report
    ) -> None:
        self._cursor = cursor
        self._schema = schema
        self._making = making
        self._report = report
        tables = old_tables(cursor, schema)
        self._readers = readers(cursor, [oid for oid, _name, _owner in tables])
        self._old = {oid: f"{schema}.{name}" for oid, name, _owner in tables}
        self._old |= {one.oid: f"{one.schema}.{one.name}" for one in self._readers}
        self._trust = trust(cursor, [owner for _oid, _name, owner in tables]).also(trusted)

    def carry_over(self) -> None:
        """Make all of them, each after what it reads; what cannot be made is in the report."""
        for one in self._readers:
            if one.kind not in KINDS:
                continue
            if one.schema != self._schema:
                self._report.noted.append(
                    f"{one.schema}.{one.name} reads couch2pg's tables, and is not in {self._schema}: left"
                )
            elif one.name in (PARTS, READERS):
                self._report.failed.append(
                    f"{one.name}: not carried over: {SCHEMA}.{one.name} is a table of this command's own; "
                    "give yours another name (alter view ... rename to ...)"
                )
            elif one.name in self._making.names:
                self._compare(one)
            else:
                self._carry(one)

    def _compare(self, old: Found) -> None:
        new = self._making.is_there(old.name)
        if new is None or columns(self._cursor, old.oid) != columns(self._cursor, new.oid):
            self._report.noted.append(
                f"{old.name} has other columns in {self._schema} than couch2pg's; yours is not carried over"
            )

    def _carry(self, old: Found) -> None:
        wanted = made(self._cursor, old.oid, path=[self._schema])
        found, recorded = self._making.is_there(old.name), self._making.recorded.get(old.name)
        if found is not None and recorded == wanted.made_of:
            return
        if found is not None and recorded is None:
            self._report.noted.append(f"{old.name} is in {SCHEMA} already: left as it is")
            return
        try:
            if foreign := self._trust.foreign(self._cursor, old.oid):
                raise ChtSyncError(
                    f"{foreign[0]}, and would be read with the rights of POSTGRES_USER; "
                    f"read its SQL, then: {options(foreign)}"
                )
            with attempt(self._cursor):
                if found is not None:
                    self._making.take_down(found)
                self._make(wanted)
        except psycopg2.Error as error:
            if self._cursor.connection.closed:
                raise
            self._report.failed.append(f"{old.name}: not carried over: {said(error)}")
        except ChtSyncError as error:
            self._report.failed.append(f"{old.name}: not carried over: {error}")
        else:
            self._report.done.append(f"{old.name}: {KINDS[old.kind]} carried over")
            if wanted.acts:
                self._report.noted.append(f"{old.name}: its triggers and rules are not carried over")

    def _make(self, wanted: Made) -> None:
        search_path(self._cursor, SCHEMA, self._schema)
        self._cursor.execute(wanted.create)
        found = self._making.is_there(wanted.name)
        read = reads(self._cursor, found.oid) if found is not None else set()
        if still := sorted(self._old[one] for one in self._old.keys() & read):
            raise _StillReads(f"it would still read {', '.join(still)}")
        for statement in (*wanted.indexes, *wanted.comments):
            self._cursor.execute(statement)
        search_path(self._cursor, SCHEMA)
        self._making.give_rights(wanted.name, wanted.rights)
        self._making.record(wanted.name, wanted.made_of, self._schema)
        if oid_of(self._cursor, self._schema, PROGRESS) in read:
            self._report.noted.append(
                f"{wanted.name} reads {self._schema}.{PROGRESS}, which stays as couch2pg has left it"
            )
