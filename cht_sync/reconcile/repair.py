"""Mending: each difference is replaced by what CouchDB holds now, beside the living pipeline."""

from __future__ import annotations

from collections import Counter

from cht_sync.errors import DocumentRefused
from cht_sync.pipeline.contracts import Rejected, StoredDocument
from cht_sync.pipeline.postgrest.row import tombstone
from cht_sync.reconcile.couch import Couch
from cht_sync.reconcile.row import RowMaker
from cht_sync.reconcile.state import State
from cht_sync.reconcile.store import Store
from cht_sync.reconcile.table import Table
from cht_sync.reconcile.writing import Outcome, Replacement, reject, write

BATCH = 50
"""Most rows of one transaction. The pipeline waits as long; and each row is a subtransaction, of which
PostgreSQL holds 64 at hand (PGPROC_MAX_CACHED_SUBXIDS)."""
MOST_BYTES = 8 << 20
"""Of documents held at once, beside the one that exceeds it."""


def mend(
    store: Store,
    couch: Couch,
    table: Table,
    maker: RowMaker,
    outcomes: Counter[Outcome],
    *,
    dropped: bool = False,
) -> None:
    """Write every difference anew, and count in `outcomes` what they came to. `table` is read as the owner.

    With `dropped` also what an operator has dropped.
    """
    for differences in store.differences(BATCH, dropped=dropped):
        rows = {one.id: one.row for one in differences}
        states = couch.states(list(rows))
        part: list[Replacement] = []
        for document_id, row in rows.items():
            state = states.get(document_id)
            try:
                replacement = prepare(document_id, state, row, couch, maker)
            except DocumentRefused as refusal:
                revision = None if state is None else state.rev
                reject(table, Rejected(document_id, revision, None, refusal.code, refusal.message))
                outcomes[Outcome.REFUSED] += 1
                continue
            if replacement is None:
                outcomes[Outcome.MOVED_ON] += 1
                continue
            part.append(replacement)
            if sum(len(one.row.body) for one in part) > MOST_BYTES:
                outcomes.update(write(table, part))
                part = []
        outcomes.update(write(table, part))


def prepare(
    document_id: str, state: State | None, row: State | None, couch: Couch, maker: RowMaker
) -> Replacement | None:
    """Return what is to replace `row`; None where there is nothing to write (any more).

    `state` is what CouchDB holds now. A row whose document is unknown there becomes a tombstone.
    Raises DocumentRefused for what is no document.
    """
    if state is None:
        if row is None or row.deleted:
            return None
        return Replacement(tombstone(StoredDocument(document_id, row.rev)), row)
    document = couch.document(document_id, state.rev or "")
    if document is None:
        return None  # it has moved on since; the next look finds it
    made = maker.make(document_id, state, document)
    return None if made is None else Replacement(made, row)
