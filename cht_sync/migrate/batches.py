"""Rows from an old table into ours: a range of the old table's blocks at a time, each one transaction.

Blocks, since not every old table has an index on its documents' names. A row that the old program writes
anew meanwhile may be passed over: CouchDB's list of changes, which is looked through afterwards, has it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from cht_sync.errors import ChtSyncError
from cht_sync.load.chunks import KEEPALIVE, stage
from cht_sync.load.ledger import WITHOUT_PATIENCE
from cht_sync.load.staging import Staging
from cht_sync.migrate.connection import ALL_ROWS
from cht_sync.migrate.ledger import MigrationLedger, Moved
from cht_sync.migrate.moves import Move
from cht_sync.migrate.rows import in_blocks, rows_of
from cht_sync.reconcile.couch import Couch, Document
from cht_sync.reconcile.row import RowMaker
from cht_sync.reconcile.state import State
from cht_sync.reconcile.table import Table

FIRST_BLOCKS, MOST_BLOCKS = 64, 8_192
"""Blocks of a batch."""
AIM = 0.5
"""Seconds that a batch shall take: so long the pipelines of other databases wait at most, about."""
FILTERED_AT_ONCE = 200
"""Documents that are held in memory, where they go through filters."""
MOST_ASKED = 5_000
"""Ids that CouchDB is asked about with one question."""


class Mover:
    """Moves the rows of one database."""

    def __init__(self, move: Move, couch: Couch, table: Table, maker: RowMaker | None) -> None:
        """`maker`: through whose filters documents go; None: as they are. `table` is read as the owner."""
        self._move = move
        self._couch = couch
        self._table = table
        self._maker = maker
        self._ledger = MigrationLedger(table)
        self._blocks = FIRST_BLOCKS

    def work(self, stop: threading.Event, advance: Callable[[Moved, int], None]) -> None:
        """Move what is left, or until `stop`; `advance` is told how far it is, and of how many blocks.

        Raises ChtSyncError and psycopg2.Error; what is done stays.
        """
        with self._table.connection.cursor() as cursor:
            cursor.execute(KEEPALIVE)
            cursor.execute(ALL_ROWS)
        while not stop.is_set():
            begun = time.monotonic()
            with self._table.connection, self._table.connection.cursor() as cursor:
                cursor.execute(WITHOUT_PATIENCE)
                state = self._ledger.state(cursor, lock=True)
                if state is None or state.ended:
                    return
                filenode, blocks = self._size(cursor)
                first = state.next_block if filenode == state.filenode else 0
                if first >= blocks:
                    self._ledger.end(cursor)
                    return
                after = min(first + self._blocks, blocks)
                read, moved = self._batch(cursor, first, after)
                self._ledger.advance(cursor, filenode=filenode, next_block=after, read=read, moved=moved)
                state = self._ledger.state(cursor)
            self._adapt(time.monotonic() - begun)
            if state is not None:
                advance(state, blocks)

    def _size(self, cursor: Cursor) -> tuple[int, int]:
        """The old table's file, and how many blocks it has now."""
        name = self._move.table.identifier
        try:
            # From here on it is neither dropped nor rewritten.
            cursor.execute(sql.SQL("lock table {} in access share mode").format(name))
            cursor.execute(
                """
                select pg_relation_filenode(oid)::bigint,
                  pg_relation_size(oid) / current_setting('block_size')::bigint
                from cast(%s as regclass) as oid
                """,
                (name.as_string(cursor),),
            )
            ((filenode, blocks),) = cursor.fetchall()
        except psycopg2.errors.UndefinedTable as error:
            raise ChtSyncError(
                f"{self._move.table.relation} is gone",
                hint="What was moved of it stays. Read the rest from CouchDB: "
                f"cht-sync load {self._move.database}",
            ) from error
        return filenode, blocks

    def _batch(self, cursor: Cursor, first: int, after: int) -> tuple[int, int]:
        """Move the rows of these blocks; return how many were this database's, and how many were written."""
        staging = Staging(cursor, self._table)
        query, values = self._rows(cursor, first, after)
        if self._maker is None:
            states = staging.adopt(query, values)
        else:
            states = self._through_filters(staging, cursor, query, values, self._maker)
        others = self._of_others(states)
        return len(states) - len(others), staging.merge(others)

    def _through_filters(
        self,
        staging: Staging,
        cursor: Cursor,
        query: sql.Composable,
        values: dict[str, Any],
        maker: RowMaker,
    ) -> dict[str, State]:
        """Prepare rows as the pipeline would make them; some at a time, since documents may be large."""
        states: dict[str, State] = {}
        declare = "declare old_rows cursor for select _id, _rev, _deleted, doc::text from ({}) as found"
        cursor.execute(sql.SQL(declare).format(query), values)
        while True:
            cursor.execute("fetch %s from old_rows", (FILTERED_AT_ONCE,))
            documents = [
                Document(one, State(revision, deleted), content.encode())
                for one, revision, deleted, content in cursor.fetchall()
            ]
            if not documents:
                break
            stage(staging, documents, maker)
            states.update((document.id, document.state) for document in documents)
        cursor.execute("close old_rows")
        return states

    def _of_others(self, states: dict[str, State]) -> set[str]:
        """Those that are not this database's, or are there in another revision."""
        ids = list(states)
        others: set[str] = set()
        for start in range(0, len(ids), MOST_ASKED):
            part = ids[start : start + MOST_ASKED]
            known = self._couch.states(part)
            others.update(one for one in part if known.get(one) != states[one])
        return others

    def _rows(self, cursor: Cursor, first: int, after: int) -> tuple[sql.Composable, dict[str, Any]]:
        """The query for the rows of these blocks, each document once, in the form of ours."""
        query = sql.SQL("""
            select distinct on (_id) _id, _rev, _deleted, doc, true as doc_as_upsert, '1' as "@version"
            from ({}) as rows
            order by _id, coalesce(substring(_rev from '^([0-9]+)-')::numeric, 0) desc, _rev collate "C" desc
        """).format(
            rows_of(self._move.table, self._move.sources, in_blocks(cursor.connection.server_version))
        )
        return query, {"first": first, "after": after, "sources": list(self._move.sources)}

    def _adapt(self, seconds: float) -> None:
        if seconds > 2 * AIM:
            self._blocks = max(self._blocks // 2, 1)
        elif seconds < AIM / 2:
            self._blocks = min(self._blocks * 2, MOST_BLOCKS)
