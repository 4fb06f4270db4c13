"""What is to be thought of a candidate: the same, different, or on its way.

The order of the four looks is what makes the answer right. First the position that the pipeline stored;
then the rows; then CouchDB's revisions; then the changes after that position. A change that is not among
these was stored together with the position or before, so the row already had it when it was looked at.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.postgrest.letters import fingerprint
from cht_sync.reconcile.couch import FROM_THE_START, Couch
from cht_sync.reconcile.state import Kind, State, differ
from cht_sync.reconcile.store import Difference, Store
from cht_sync.reconcile.table import Table

BATCH = 1_000
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0


def decide(store: Store, couch: Couch, table: Table, *, wait: float) -> None:
    """Settle every candidate; those that are still on their way after `wait` seconds stay candidates.

    What nobody brings is not on its way: where no pipeline holds the source it is a difference.
    """
    until = time.monotonic() + wait
    pause = FIRST_PAUSE
    while True:
        for ids in store.candidates(BATCH):
            in_flight, differences = _look(ids, couch, table)
            store.settle([one for one in ids if one not in in_flight], differences)
        if not store.undecided() or time.monotonic() >= until:
            return
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
        pause = min(pause * 2, LONGEST_PAUSE)


def _look(ids: Sequence[str], couch: Couch, table: Table) -> tuple[set[str], list[Difference]]:
    """Return the ids whose change is on its way, and the differences among the others."""
    reading = table.reading()
    rows = table.states(ids)
    documents = couch.states(ids)
    different = [one for one in ids if differ(documents.get(one), rows.get(one))]
    in_flight: set[str] = set()
    if different and reading.alive:
        wanted = set(different)
        for page in couch.changes(reading.sequence or FROM_THE_START):
            in_flight.update(change.id for change in page if change.id in wanted)
        in_flight |= _changed_since([one for one in different if one not in in_flight], documents, couch)
    remaining = [one for one in different if one not in in_flight]
    return in_flight, _differences(remaining, documents, rows, table)


def _changed_since(ids: Sequence[str], before: dict[str, State], couch: Couch) -> set[str]:
    """The documents that were changed again meanwhile.

    PouchDB's feed leaves out a document that is changed while the feed is read; CouchDB's does not.
    """
    now = couch.states(ids) if ids else {}
    return {one for one in ids if now.get(one) != before.get(one)}


def _differences(
    ids: Sequence[str], documents: dict[str, State], rows: dict[str, State], table: Table
) -> list[Difference]:
    fingerprints = {
        one: fingerprint(table.source, Rejected(one, documents[one].rev, None, "", ""))
        for one in ids
        if one in documents
    }
    letters = table.letters(list(fingerprints.values())) if fingerprints else {}

    def kind(one: str) -> Kind:
        if one not in documents:
            return Kind.EXTRA
        unsettled = Kind.STALE if one in rows else Kind.MISSING
        return letters.get(fingerprints[one], unsettled)

    return [Difference(one, kind(one), rows.get(one)) for one in ids]
