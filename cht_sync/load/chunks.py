"""A worker's part: plan a chunk, take one, read it from CouchDB, write it; each chunk is one transaction."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from cht_sync.errors import ChtSyncError, DocumentRefused
from cht_sync.load.changed import Changed
from cht_sync.load.ledger import Chunk, Ledger, refuse_another
from cht_sync.load.staging import Staging
from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.postgrest.row import Row
from cht_sync.pipeline.postgrest.storable import is_storable_text
from cht_sync.reconcile.couch import LONGEST_KEY, Couch, Document
from cht_sync.reconcile.row import RowMaker
from cht_sync.reconcile.table import Table

SIZE = 5_000
"""Documents of a chunk, about, where nobody says otherwise."""
REST = 0.5
"""Seconds until it is looked again whether a chunk of somebody else's has come free."""
KEEPALIVE = """
    set tcp_keepalives_idle = 30;
    set tcp_keepalives_interval = 10;
    set tcp_keepalives_count = 3;
"""
"""So that PostgreSQL notices within a minute that a worker's machine is gone, and frees its chunk."""


def work(couch: Couch, table: Table, maker: RowMaker, stop: threading.Event) -> None:
    """Do chunks until none is left, or `stop`. Raises ChtSyncError and psycopg2.Error; what is done stays.

    `table` is read over a connection of the owner's.
    """
    ledger, changed = Ledger(table), Changed(couch, table)
    with table.connection.cursor() as cursor:
        cursor.execute(KEEPALIVE)
    while not stop.is_set():
        if _do_one(ledger, couch, table, maker, changed, stop) or _plan_one(ledger, couch):
            continue
        progress = ledger.progress()
        if progress is None or progress.all_chunks_done:
            return
        stop.wait(REST)


def _plan_one(ledger: Ledger, couch: Couch) -> bool:
    """Plan a chunk; False where all are planned."""
    with ledger.transaction() as cursor:
        found = ledger.frontier(cursor)
        if found is None:
            return False
        begins, size = found
        ledger.plan(cursor, begins, next_bound(couch, begins, size))
        return True


def next_bound(couch: Couch, begins: str, size: int) -> str | None:
    """Where a chunk of about `size` documents ends; None: with the list. Raises SourceError.

    A bound need not be an id: it is cut to what fits into a URL and into PostgreSQL.
    """
    while (key := couch.key_after(begins, size)) is not None:
        bound = key[:LONGEST_KEY]
        while not is_storable_text(bound):
            bound = bound[:-1]
        if bound > begins:
            return bound
        size *= 2
    return None


def _do_one(
    ledger: Ledger, couch: Couch, table: Table, maker: RowMaker, changed: Changed, stop: threading.Event
) -> bool:
    """Take a chunk and load it; False where there is none to take."""
    with ledger.transaction() as cursor:
        chunk = ledger.claim(cursor)
        agreed = ledger.agreement()
        if chunk is None or agreed is None:
            return False
        staging, ids = Staging(cursor, table), set[str]()
        changed.begin()
        for documents in couch.range(chunk.begins, chunk.ends):
            if stop.is_set():
                raise Stopped(chunk)
            stage(staging, documents, maker)
            ids.update(one.id for one in documents)
        # After the documents: else they could be those of another database.
        refuse_another(agreed, couch.identity(), table.database)
        staging.merge(ids & changed.look())
        ledger.done(cursor, chunk, len(ids))
        return True


def stage(staging: Staging, documents: Sequence[Document], maker: RowMaker) -> None:
    """Prepare the rows that the pipeline's filters make of these documents."""
    rows: list[Row] = []
    for document in documents:
        try:
            row = maker.first_try(document.id, document.state, document.content)
        except DocumentRefused as refusal:
            text = document.content.decode(errors="backslashreplace") if maker.keeps_rejected else None
            revision = document.state.rev
            staging.reject(Rejected(document.id, revision, None, refusal.code, refusal.message, text))
            continue
        if row is not None:
            rows.append(row)
    staging.add(rows)


class Stopped(ChtSyncError):
    """A worker was told to stop in the middle of a chunk, which is undone."""

    def __init__(self, chunk: Chunk) -> None:
        super().__init__(f"stopped in chunk {chunk.number}")
