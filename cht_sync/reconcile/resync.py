"""Reading a database, or some documents of it, once more, and writing what CouchDB holds now.

First the contents of rows whose revision is right, then what `verify --repair` mends. All of it is written
beside the living pipeline, each row only while it is the one that was seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cht_sync.reconcile.contents import Contents, mend_contents
from cht_sync.reconcile.couch import Couch, Document
from cht_sync.reconcile.databases import refuse_stranger, sides
from cht_sync.reconcile.repair import mend
from cht_sync.reconcile.row import RowMaker
from cht_sync.reconcile.state import Kind, State
from cht_sync.reconcile.store import Store, kept_on_disk
from cht_sync.reconcile.table import Table
from cht_sync.reconcile.verify import Advance, Finding, collect, conclude
from cht_sync.reconcile.writing import Outcome
from cht_sync.settings import Settings

MOST_NAMED = 1_000
"""Ids of each kind that are named."""
NAMED_AT_ONCE = 1_000
"""Documents whose states are asked for at once."""


@dataclass
class Resync:
    """How far it is, and in the end what became of it."""

    database: str
    expected: int = 0
    """Documents that there are, or that were named."""
    contents: Contents = field(default_factory=Contents)
    repaired: Counter[Outcome] = field(default_factory=Counter)
    extra: int = 0
    """Rows of documents that CouchDB did not know."""
    unknown: list[str] = field(default_factory=list)
    """Documents that were named, and that neither side has."""
    finding: Finding = field(init=False)

    def __post_init__(self) -> None:
        self.finding = Finding(self.database)

    @property
    def looked_at(self) -> int:
        """Documents, deletions, and rows of documents that CouchDB did not know."""
        return self.contents.looked_at + self.extra

    @property
    def written(self) -> int:
        """Rows that are others now."""
        return self.contents.outcomes[Outcome.WRITTEN] + self.repaired[Outcome.WRITTEN]

    @property
    def same(self) -> int:
        """Documents whose rows were right, or were brought by the pipeline meanwhile."""
        finding = self.finding
        left = self.contents.elsewhere
        if finding.compared:
            left = sum(finding.counts.values()) + finding.in_flight
        return max(0, self.looked_at - self.written - left - self.contents.outcomes[Outcome.REFUSED])

    @property
    def done(self) -> bool:
        """All is as CouchDB has it."""
        return self.finding.same and not self.unknown and not self.contents.outcomes[Outcome.REFUSED]


def resync(settings: Settings, result: Resync, ids: Sequence[str], wait: float, advance: Advance) -> None:
    """Do it, for the documents named, or for all where none is; `result` shows how far it is meanwhile.

    What a living pipeline is about to bring is left to it, and waited for, `wait` seconds at most. Raises
    ChtSyncError; what was written before stays.
    """
    with kept_on_disk() as store, sides(settings, result.database, writing=True) as (couch, table):
        refuse_stranger(couch, table)
        maker = RowMaker(settings, result.database)
        if ids:
            _look_at_some(ids, store, couch, table, maker, result, advance)
        else:
            _look_at_all(store, couch, table, maker, result, advance)
        finding = result.finding
        if not finding.compared:
            return
        conclude(finding, store, couch, table, wait=wait, most=MOST_NAMED)
        result.extra = finding.counts[Kind.EXTRA] if not ids else 0
        # Who names a document whose dead letter was dropped wants it all the same.
        if finding.differs or (ids and finding.counts[Kind.DROPPED]):
            mend(store, couch, table, maker, result.repaired, dropped=bool(ids))
            store.reconsider()
            conclude(finding, store, couch, table, wait=wait, most=MOST_NAMED)


def _look_at_all(
    store: Store, couch: Couch, table: Table, maker: RowMaker, result: Resync, advance: Advance
) -> None:
    """Mend the contents of rows, a third of the way; then compare all revisions."""
    contents = result.contents
    result.expected = couch.count()
    whole = 3 * result.expected
    mend_contents(couch.documents(), table, maker, contents, lambda: advance(contents.looked_at, whole))
    read = contents.looked_at
    result.finding = collect(store, couch, table, lambda done, _all: advance(read + done, whole))


def _look_at_some(
    ids: Sequence[str],
    store: Store,
    couch: Couch,
    table: Table,
    maker: RowMaker,
    result: Resync,
    advance: Advance,
) -> None:
    """Mend the contents of rows whose revision is right, and suspect all."""
    contents = result.contents
    couch.count()  # so that a wrong address or name is told at once
    ids = list(dict.fromkeys(ids))
    result.expected = len(ids)
    for start in range(0, len(ids), NAMED_AT_ONCE):
        named = ids[start : start + NAMED_AT_ONCE]
        rows, states = table.states(named), couch.states(named)
        known = [one for one in named if one in rows or one in states]
        result.unknown += [one for one in named if one not in rows and one not in states]
        store.suspect(known)
        current = {one: states[one] for one in known if one in states and rows.get(one) == states[one]}
        before = contents.looked_at
        mend_contents(_fetched(current, couch), table, maker, contents, lambda: None)
        contents.looked_at = before + len(known)
        advance(start + len(named), len(ids))


def _fetched(states: Mapping[str, State], couch: Couch) -> Iterator[Document]:
    """The documents in these states; what has moved on since is left out."""
    for document_id, state in states.items():
        content = couch.document(document_id, state.rev or "")
        if content is not None:
            yield Document(document_id, state, content)
