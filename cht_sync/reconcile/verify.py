"""Proof that a table holds what its database holds, in constant memory.

Living documents: CouchDB's list against the table's, both in the order of ids. Deletions: from the changes
feed, looked up in the table. What does not match is a candidate, about which `recheck` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cht_sync.reconcile import recheck
from cht_sync.reconcile.couch import FROM_THE_START, Change, Couch
from cht_sync.reconcile.merge import Tally, candidates
from cht_sync.reconcile.state import Kind
from cht_sync.reconcile.store import Store
from cht_sync.reconcile.table import Reading, Table

FAR_BEHIND = 20_000
"""Changes on their way above which a difference says nothing about the table."""
SUSPECTS_AT_ONCE = 1_000

Advance = Callable[[int, int], None]
"""Takes how many documents were looked at, and about how many there are in all."""


@dataclass
class Finding:
    """What was found of one database."""

    name: str
    documents: int = 0
    deletions: int = 0
    rows: int = 0
    tombstones: int = 0
    in_flight: int = 0
    problem: str | None = None
    """Why nothing was compared, or what keeps the pipeline from reading."""
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    examples: dict[Kind, list[str]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    compared: bool = True

    @property
    def same(self) -> bool:
        """Proven: every document, deletion and row was compared, none differs, none is on its way."""
        return self.compared and not self.in_flight and not self.differs

    @property
    def differs(self) -> bool:
        """Whether there is something to mend."""
        return any(count for kind, count in self.counts.items() if kind.is_difference)


def stranger(couch: Couch, table: Table) -> str | None:
    """Why this CouchDB may not be the one that the rows come from; None where nothing says so."""
    other = table.other_source()
    if other is not None:
        return f"the rows come from {other.name}; COUCHDB_HOST names {table.source}"
    expected = table.reading().server_uuid
    if expected is not None and couch.server_uuid() not in (None, expected):
        return "this CouchDB is another server than the one that the rows come from"
    return None


def collect(store: Store, couch: Couch, table: Table, advance: Advance) -> Finding:
    """Compare everything; what may differ is in `store` then. Where that would say nothing, say why."""
    finding = Finding(table.database)
    expected = couch.count()
    reading = table.reading()
    finding.problem = stranger(couch, table) or reading.problem
    hindrance, waiting = _hindrance(reading, couch, table)
    if hindrance:
        finding.problem, finding.in_flight, finding.compared = hindrance, waiting, False
        return finding
    tally = Tally()
    with table.listed() as rows:
        found = candidates(_passing(couch.listed(), expected, advance), rows, tally)
        for batch in _batches(found):
            store.suspect(batch)
    finding.rows, finding.tombstones = tally.rows, tally.tombstones
    for page in couch.changes():
        deleted = sum(change.deleted for change in page)
        finding.deletions += deleted
        finding.documents += len(page) - deleted
        store.suspect(_differing(page, tally.greatest, table))
        advance(expected + finding.documents, 2 * expected)
    return finding


def conclude(finding: Finding, store: Store, couch: Couch, table: Table, *, wait: float, most: int) -> None:
    """Decide about all candidates, and enter what remains; `most` ids of each kind."""
    recheck.decide(store, couch, table, wait=wait)
    finding.in_flight = store.undecided()
    finding.counts = store.counts()
    finding.examples = {kind: store.some(kind, most) for kind in Kind}


def _hindrance(reading: Reading, couch: Couch, table: Table) -> tuple[str | None, int]:
    """Why comparing would say nothing, and how many changes wait."""
    other = table.other_source()
    if other is not None and other.held:
        return f"a pipeline fills this table from {other.name}, and COUCHDB_HOST names another one", 0
    if not reading.alive:
        return None, 0
    waiting = couch.pending(reading.sequence or FROM_THE_START) or 0
    if reading.rereading:
        return "the pipeline is reading this database anew, since it was replaced", waiting
    if waiting > FAR_BEHIND:
        return f"the pipeline has {waiting:,} changes still to bring", waiting
    return None, 0


def _differing(page: list[Change], greatest: str, table: Table) -> list[str]:
    """The ids of a page that the first pass did not see, and that are not as their rows.

    PouchDB's list leaves out every id from U+00FF on, so beyond the greatest id that was listed living
    documents are looked up too.
    """
    unseen = {change.id: change.state for change in page if change.deleted or change.id > greatest}
    if not unseen:
        return []
    rows = table.states(list(unseen))
    return [one for one, state in unseen.items() if rows.get(one) != state]


def _passing(listed: Iterator[tuple[str, str]], expected: int, advance: Advance) -> Iterator[tuple[str, str]]:
    for number, one in enumerate(listed):
        if number % SUSPECTS_AT_ONCE == 0:
            advance(number, 2 * expected)
        yield one


def _batches(ids: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for one in ids:
        batch.append(one)
        if len(batch) == SUSPECTS_AT_ONCE:
            yield batch
            batch = []
    yield batch
