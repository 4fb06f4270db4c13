"""Mending: each difference is replaced by what CouchDB holds now, beside the living pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from cht_sync.pipeline.contracts import Rejected, StoredDocument
from cht_sync.pipeline.postgrest.writer import tombstone
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


def mend(store: Store, couch: Couch, table: Table, maker: RowMaker) -> Counter[Outcome]:
    """Write every difference anew; return how many came to what. `table` is read as the owner."""
    outcomes: Counter[Outcome] = Counter()
    for differences in store.differences(BATCH):
        rows = {one.id: one.row for one in differences}
        states = couch.states(list(rows))
        prepared = (
            one
            for document_id, row in rows.items()
            if (one := prepare(document_id, states.get(document_id), row, couch, table, maker)) is not None
        )
        for part in _parts(prepared):
            outcomes.update(write(table, part))
    return outcomes


def prepare(
    document_id: str, state: State | None, row: State | None, couch: Couch, table: Table, maker: RowMaker
) -> Replacement | None:
    """Return what is to replace `row`; None where there is nothing to write.

    `state` is what CouchDB holds now. A row whose document is unknown there becomes a tombstone.
    """
    if state is None:
        if row is None or row.deleted:
            return None
        return Replacement(tombstone(StoredDocument(document_id, row.rev)), row)
    document = couch.document(document_id, state.rev or "")
    if document is None:
        return None  # it has moved on since; the next look finds it
    try:
        made = maker.make(document_id, state, document)
    except ValueError as error:
        text = document.decode(errors="replace")
        reject(table, Rejected(document_id, state.rev, None, "malformed", str(error), text))
        return None
    return None if made is None else Replacement(made, row)


def _parts(prepared: Iterable[Replacement]) -> Iterable[list[Replacement]]:
    part: list[Replacement] = []
    size = 0
    for one in prepared:
        part.append(one)
        size += len(one.row.body)
        if size > MOST_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
