"""After the chunks: the changes feed is looked through, without documents, for what the table lacks.

Deletions above all, which the list of documents does not show; and whatever a server's list leaves out, or
gives in an older state, as that of a cluster's node may that is itself behind. What differs, and what the
pipeline is not about to bring, is fetched and written as chunks are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from cht_sync import backoff
from cht_sync.errors import SourceUnavailable
from cht_sync.load.changed import Changed
from cht_sync.load.chunks import stage
from cht_sync.load.ledger import Ledger
from cht_sync.load.staging import Staging
from cht_sync.pipeline.contracts import Rejected
from cht_sync.reconcile.couch import FIRST_PAUSE, LONGEST_PAUSE, PAGE, TRIES, Couch
from cht_sync.reconcile.row import RowMaker
from cht_sync.reconcile.state import State
from cht_sync.reconcile.table import Table

AT_ONCE = 200
"""Documents that are fetched with one question."""


def review(
    couch: Couch, table: Table, maker: RowMaker, stop: threading.Event, advance: Callable[[], None]
) -> None:
    """Do it from where it was left, until all is done, or `stop`; a page of changes is one transaction.

    `advance` is called after each. Raises SourceError and psycopg2.Error; what is done stays. On several
    machines one does a page while the others wait.
    """
    ledger, changed = Ledger(table), Changed(couch, table)
    while not stop.is_set():
        with ledger.transaction() as cursor:
            since = ledger.reviewed(cursor)
            if since is None:
                return
            changed.begin()
            page, after = next(couch.pages(since))
            stored = table.states([change.id for change in page])
            differing = {one.id: one.state for one in page if stored.get(one.id) != one.state}
            wanted = {one: differing[one] for one in differing.keys() - changed.look()}
            staging = Staging(cursor, table)
            _stage_all(wanted, staging, couch, maker, stop)
            # What a chunk has written is mended, too; what anybody writes meanwhile stays.
            seen = {one: stored.get(one) for one in wanted}
            added = staging.merge(wanted.keys() & changed.look(), seen)
            ledger.review(cursor, after, added, ends=len(page) < PAGE)
        advance()


def _stage_all(
    wanted: Mapping[str, State], staging: Staging, couch: Couch, maker: RowMaker, stop: threading.Event
) -> None:
    """Prepare them; what CouchDB has and does not give in the end is a dead letter, as in the pipeline."""
    left = dict(wanted)
    delays = backoff.delays(first=FIRST_PAUSE, most=LONGEST_PAUSE)
    for _try in range(TRIES):
        for part in _parts(left):
            documents = couch.contents(part)
            stage(staging, documents, maker)
            for document in documents:
                del left[document.id]
        # What has moved on is in the feed again; what was purged is nowhere.
        now = couch.states(list(left)) if left else {}
        left = {one: state for one, state in left.items() if now.get(one) == state}
        if not left:
            return
        stop.wait(next(delays))
        if stop.is_set():
            raise SourceUnavailable("stopped before all documents came")
    for one, state in left.items():
        staging.reject(Rejected(one, state.rev, None, "no_document", "the server gave no document"))


def _parts(wanted: Mapping[str, State]) -> list[dict[str, State]]:
    items = list(wanted.items())
    return [dict(items[at : at + AT_ONCE]) for at in range(0, len(items), AT_ONCE)]
