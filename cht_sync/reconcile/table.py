"""What verify asks the table of one database; the rows are listed by a cursor of the server's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.errors import ChtSyncError
from cht_sync.pipeline.postgrest.storable import is_storable_text
from cht_sync.reconcile.merge import RowOfTable
from cht_sync.reconcile.state import Kind, State

ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Reading:
    """How far the pipeline is, by its own account."""

    sequence: str | None
    alive: bool
    """Somebody brings changes: the source is held, and nothing is said to keep its writer from reading."""
    rereading: bool
    problem: str | None
    server_uuid: str | None
    """Of the CouchDB that the rows come from; None where it is not known."""


@dataclass(frozen=True)
class OtherSource:
    """Another source that this table was filled from."""

    name: str
    held: bool
    """A living pipeline does so now."""


NOTHING_READ = Reading(None, alive=False, rereading=False, problem=None, server_uuid=None)


class Table:
    """The rows of one database, read over `connection`, which commits by itself. Raises psycopg2.Error."""

    def __init__(self, connection: Connection, schema: str, database: str, source: str) -> None:
        self.connection = connection
        self.schema = schema
        self.database = database
        self.source = source

    def reading(self) -> Reading:
        """What the pipeline last said."""
        found = self._query(
            """
            select seq, held_until > clock_timestamp() and problem is null, rereading, problem, server_uuid
            from {} where source = %s
            """,
            "couchdb_progress",
            self.source,
        )
        return Reading(*found[0]) if found else NOTHING_READ

    def caught_up(self) -> bool:
        """Whether a pipeline has ever had nothing left to bring."""
        query = "select from {} where source = %s and caught_up_at is not null"
        return bool(self._query(query, "couchdb_progress", self.source))

    def is_taken_over(self) -> bool:
        """Whether its rows come, or came, from an earlier program's table; see cht-sync migrate."""
        query = "select from {} where source = %s"
        return bool(self._query(query, "cht_sync_migrations", self.source))

    def other_source(self) -> OtherSource | None:
        """Who else fills this table; where our source never did, who did last. None where nobody."""
        found = self._query(
            """
            select source, held_until > clock_timestamp() as held
            from {0} as other
            where database = %s and source <> %s
              and (held_until > clock_timestamp() or not exists (select from {0} where source = %s))
            order by updated_at desc limit 1
            """,
            "couchdb_progress",
            self.database,
            self.source,
            self.source,
        )
        return OtherSource(*found[0]) if found else None

    @contextmanager
    def listed(self) -> Iterator[Iterator[RowOfTable]]:
        """Give all rows in the order of their ids' bytes, as they were at one moment."""
        query = sql.SQL("select _id, _rev, _deleted from {} order by _id").format(self.name)
        self.connection.autocommit = False  # the driver wants it so for a cursor of the server's
        try:
            with self.connection, self.connection.cursor() as settings:
                # All rows are wanted, which planning for the first ones would make slow. Pages of CouchDB
                # come in between, for which no time limit of the role's is meant.
                settings.execute("""
                    set local cursor_tuple_fraction = 1;
                    set local statement_timeout = 0;
                    set local idle_in_transaction_session_timeout = 0;
                """)
                with self.connection.cursor("listed") as cursor:
                    cursor.itersize = ROWS_AT_ONCE
                    cursor.execute(query)
                    yield iter(cursor)
        finally:
            if not self.connection.closed:
                self.connection.autocommit = True

    def counts(self) -> tuple[int, int]:
        """How many rows are alive, how many are tombstones."""
        query = "select count(*) filter (where not _deleted), count(*) filter (where _deleted) from {}"
        ((rows, tombstones),) = self._query(query, self.database)
        return rows, tombstones

    def states(self, ids: Sequence[str]) -> dict[str, State]:
        """Return the rows of these ids; those without a row are left out."""
        known = [one for one in ids if is_storable_text(one)]
        if not known:
            return {}
        found = self._query("select _id, _rev, _deleted from {} where _id = any(%s)", self.database, known)
        return {document_id: State(rev, deleted) for document_id, rev, deleted in found}

    def compared(self, bodies: Sequence[bytes]) -> dict[str, tuple[State, bool]]:
        """Return the rows of the same revision and deletion mark as these, and whether they are equal.

        `bodies` are rows as JSON. Equal is what a write would leave as it is: see stamp_row in
        postgres/init-db-resources.sh. Raises psycopg2.Error, also where one of them is no jsonb, and
        UnicodeDecodeError where one is no UTF-8.
        """
        statement = """
            select made._id, stored._rev, stored._deleted, stored.doc is not distinct from made.doc
            from json_to_recordset(%s) as made(_id text, _rev text, _deleted boolean, doc jsonb)
            join {} as stored on stored._id = made._id collate "C" and stored._rev = made._rev
              and stored._deleted = coalesce(made._deleted, false)
        """
        made = b"[" + b",".join(bodies) + b"]"
        found = self._query(statement, self.database, made.decode())
        return {document_id: (State(rev, deleted), same) for document_id, rev, deleted, same in found}

    def has_rows(self, count: int) -> bool:
        """Whether there are so many rows, or more; quick, also where there are millions."""
        found = self._query("select count(*) from (select from {} limit %s) as counted", self.database, count)
        return bool(found[0][0] >= max(count, 1))

    def letters(self, fingerprints: Sequence[str]) -> dict[str, Kind]:
        """Return those fingerprints that are of dead letters, open ones and dropped ones."""
        found = self._query(
            """
            select fingerprint, closed_at is not null from {}
            where fingerprint = any(%s) and (closed_at is null or closed_by = 'dropped')
            """,
            "dead_letters",
            list(fingerprints),
        )
        return {one: Kind.DROPPED if dropped else Kind.DEAD_LETTERED for one, dropped in found}

    @property
    def name(self) -> sql.Identifier:
        """The table in SQL."""
        return sql.Identifier(self.schema, self.database)

    def _query(self, statement: str, relation: str, *values: Any) -> list[tuple[Any, ...]]:
        query = sql.SQL(statement).format(sql.Identifier(self.schema, relation))
        with self.connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()


@contextmanager
def told_of(what: str) -> Iterator[None]:
    """Turn PostgreSQL's errors within the block into one that says what failed and what to do."""
    try:
        yield
    except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn) as error:
        raise ChtSyncError(
            f"{what}: PostgreSQL lacks what this version keeps there: {_first_line(error)}",
            hint="Create or upgrade it with: cht-sync init-db",
        ) from error
    except psycopg2.errors.InsufficientPrivilege as error:
        raise ChtSyncError(
            f"{what}: PostgreSQL refuses it: {_first_line(error)}",
            hint="Let the owner of that grant it. A table with row level security is not read where its "
            "policies count: switch it off there, or for this role (alter role ... bypassrls).",
        ) from error
    except psycopg2.Error as error:
        raise ChtSyncError(
            f"{what}: PostgreSQL failed: {_first_line(error)}",
            hint="What was begun there was undone. Run the same again once PostgreSQL answers.",
        ) from error


def _first_line(error: psycopg2.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
