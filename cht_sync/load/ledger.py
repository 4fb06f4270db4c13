"""What a load has agreed on and how far it is: two tables of PostgreSQL, the only thing that workers share.

Who works at a chunk holds the lock of its row, in the transaction that also writes its documents. So a worker
that is killed, on whatever machine, leaves neither half a chunk nor a claim. The tables:
postgres/init-db-resources.sh.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from cht_sync.errors import ChtSyncError
from cht_sync.pipeline.couchdb.identity import Identity
from cht_sync.reconcile.table import Table
from cht_sync.settings import Settings

WITHOUT_PATIENCE = """
    set local idle_in_transaction_session_timeout = 0;
    set local statement_timeout = 0;
"""
"""For transactions in which CouchDB is waited for, which no time limit of the role's is meant for."""


@dataclass(frozen=True)
class Agreement:
    """What was agreed at the start: `expected` documents that there were, in chunks of about `chunk_size`."""

    sequence: str
    identity: Identity
    expected: int
    chunk_size: int
    ended: bool


@dataclass(frozen=True)
class Chunk:
    """Ids from `begins` up to before `ends`; None: to the end."""

    number: int
    begins: str
    ends: str | None


@dataclass(frozen=True)
class Progress:
    """How far a load is.

    `documents` were read in chunks, `added` found missing afterwards. `seconds` since its start, or between
    start and end; `seconds_idle` since the last chunk was done.
    """

    expected: int
    documents: int
    added: int
    chunks: int
    chunks_done: int
    all_planned: bool
    seconds: float
    ended: bool
    seconds_idle: float = 0.0

    @property
    def all_chunks_done(self) -> bool:
        """Whether only the look-through is left, if anything."""
        return self.all_planned and self.chunks == self.chunks_done


class Ledger:
    """The load of one table's source. Every method raises psycopg2.Error."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def agreement(self) -> Agreement | None:
        """What was agreed; None where there is no load."""
        with self._table.connection.cursor() as cursor:
            self._execute(
                cursor,
                """
                select seq, server_uuid, instance_start_time, expected, chunk_size, ended_at is not null
                from {loads} where source = %(source)s
                """,
            )
            row = cursor.fetchone()
        if row is None:
            return None
        sequence, uuid, instance, expected, chunk_size, ended = row
        return Agreement(sequence, Identity(uuid, instance), expected, chunk_size, ended)

    def progress(self) -> Progress | None:
        """How far it is; None where there is no load."""
        with self._table.connection.cursor() as cursor:
            self._execute(
                cursor,
                """
                select expected, chunks.documents, added, chunks.number, chunks.done, frontier is null,
                  extract(epoch from coalesce(ended_at, clock_timestamp()) - started_at)::float8,
                  ended_at is not null,
                  extract(epoch from clock_timestamp() - greatest(started_at, chunks.last))::float8
                from {loads} as load, lateral (
                  select coalesce(sum(documents), 0)::bigint as documents, count(*) as number,
                    count(done_at) as done, max(done_at) as last
                  from {chunks} where source = load.source) as chunks
                where source = %(source)s
                """,
            )
            row = cursor.fetchone()
        return None if row is None else Progress(*row)

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """A transaction in which CouchDB may be waited for."""
        with self._table.connection, self._table.connection.cursor() as cursor:
            cursor.execute(WITHOUT_PATIENCE)
            yield cursor

    def frontier(self, cursor: Cursor) -> tuple[str, int] | None:
        """Where the next chunk begins, and its size; None where all are planned. Waits for who plans now."""
        self._execute(
            cursor,
            """
            select frontier, chunk_size from {loads}
            where source = %(source)s and frontier is not null and ended_at is null for update
            """,
        )
        return cursor.fetchone()

    def plan(self, cursor: Cursor, begins: str, ends: str | None) -> None:
        """Add a chunk; the next one begins where it ends."""
        self._execute(
            cursor,
            """
            insert into {chunks} (source, number, begins, ends)
              select %(source)s, coalesce(max(number), 0) + 1, %(begins)s, %(ends)s
              from {chunks} where source = %(source)s;
            update {loads} set frontier = %(ends)s where source = %(source)s
            """,
            begins=begins,
            ends=ends,
        )

    def claim(self, cursor: Cursor) -> Chunk | None:
        """Take a chunk that nobody works at, until the transaction ends; None where there is none."""
        self._execute(
            cursor,
            """
            select number, begins, ends from {chunks} where source = %(source)s and done_at is null
            order by number limit 1 for update skip locked
            """,
        )
        row = cursor.fetchone()
        return None if row is None else Chunk(*row)

    def done(self, cursor: Cursor, chunk: Chunk, documents: int) -> None:
        """Say that the claimed chunk is done with this transaction."""
        self._execute(
            cursor,
            """
            update {chunks} set documents = %(documents)s, done_at = clock_timestamp()
            where source = %(source)s and number = %(number)s
            """,
            documents=documents,
            number=chunk.number,
        )

    def reviewed(self, cursor: Cursor) -> str | None:
        """So far the changes were looked through; None where the load has ended. Waits for who does it."""
        self._execute(
            cursor,
            "select reviewed_seq from {loads} where source = %(source)s and ended_at is null for update",
        )
        row = cursor.fetchone()
        return None if row is None else str(row[0])

    def review(self, cursor: Cursor, sequence: str, added: int, *, ends: bool) -> None:
        """Say how far the changes were looked through, what that added, and whether all is done."""
        self._execute(
            cursor,
            """
            update {loads} set reviewed_seq = %(sequence)s, added = added + %(added)s,
              ended_at = case when %(ends)s then clock_timestamp() end
            where source = %(source)s
            """,
            sequence=sequence,
            added=added,
            ends=ends,
        )

    def begin(
        self,
        sequence: str,
        identity: Identity,
        *,
        expected: int,
        chunk_size: int,
        anew: bool,
        planned: bool = False,
    ) -> None:
        """Agree on a load, and let the pipeline go on from `sequence`, in one transaction.

        A pipeline that runs takes that up with its next request, which is refused since the number of its
        last one is gone. Where the database was made anew since that position, which only this still tells,
        it looks for what has to become a tombstone. `anew`: in the place of a load that was there; else that
        one stays. `planned`: without any chunk, since the rows came in another way; what they lack is left.
        """
        with self._table.connection, self._table.connection.cursor() as cursor:
            if anew:
                # Waits for workers that are in the middle of a chunk; before the line, which they take last.
                self._execute(cursor, "delete from {loads} where source = %(source)s")
            # All writers stand in this line: what is written from now on has a greater stamp.
            self._execute(cursor, "select from {state} for update")
            self._execute(
                cursor,
                """
                insert into {loads} (source, database, seq, stamp, expected, chunk_size, server_uuid,
                    instance_start_time, frontier)
                  select %(source)s, %(database)s, %(sequence)s, last_stamp, %(expected)s, %(chunk_size)s,
                    %(uuid)s, %(instance)s, case when not %(planned)s then '' end
                  from {state}
                on conflict (source) do nothing
                """,
                database=self._table.database,
                sequence=sequence,
                expected=expected,
                chunk_size=chunk_size,
                uuid=identity.server_uuid,
                instance=identity.instance_start_time,
                planned=planned,
            )
            if not cursor.rowcount:
                return  # somebody was faster; theirs is the one
            self._execute(
                cursor,
                """
                insert into {progress} as p (source, database, seq, updated_at, held_until, epoch, batch,
                    server_uuid, instance_start_time)
                  values (%(source)s, %(database)s, %(sequence)s, clock_timestamp(), clock_timestamp(), 0, 0,
                    %(uuid)s, %(instance)s)
                on conflict (source) do update set seq = excluded.seq, pending = null, batch = 0,
                  rereading = p.rereading
                    or coalesce(p.instance_start_time <> excluded.instance_start_time, false),
                  problem = null, server_uuid = coalesce(excluded.server_uuid, p.server_uuid),
                  instance_start_time = coalesce(excluded.instance_start_time, p.instance_start_time)
                """,
                database=self._table.database,
                sequence=sequence,
                uuid=identity.server_uuid,
                instance=identity.instance_start_time,
            )

    def _execute(self, cursor: Cursor, statement: str, **values: Any) -> None:
        schema = self._table.schema
        names = {
            "loads": sql.Identifier(schema, "cht_sync_loads"),
            "chunks": sql.Identifier(schema, "cht_sync_load_chunks"),
            "progress": sql.Identifier(schema, "couchdb_progress"),
            "state": sql.Identifier(schema, "cht_sync_state"),
        }
        cursor.execute(sql.SQL(statement).format(**names), {"source": self._table.source, **values})


def progress_of_all(connection: Connection, settings: Settings) -> dict[str, Progress]:
    """How far the loads are, by database; those without one are left out. Raises psycopg2.Error."""
    found = {}
    for database in settings.couchdb_dbs:
        table = Table(connection, settings.postgres_schema, database, settings.source(database))
        if (progress := Ledger(table).progress()) is not None:
            found[database] = progress
    return found


def refuse_another(agreed: Agreement, found: Identity, database: str) -> None:
    """Raise ChtSyncError where CouchDB is another one than the load began with."""
    if agreed.identity.is_another_server(found):
        what = "this CouchDB is another server"
    elif agreed.identity.is_another_instance(found):
        what = "the database in CouchDB was deleted and made anew"
    else:
        return
    raise ChtSyncError(
        f"{database}: {what} since the load began; nothing more is loaded",
        hint=f"Correct COUCHDB_HOST; or begin again: cht-sync load {database} --restart.",
    )
