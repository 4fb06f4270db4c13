"""Tombstones for what a replaced source does not have.

Done by the one writer, a page between two batches: nothing overtakes the feed, and the feed never waits
long. A document that is created after its page was looked at comes later, as a change. After a crash the
sweep begins again; what it has buried stays buried.
"""

from __future__ import annotations

import logging
import threading
import time

from cht_sync.errors import SourceError, SourceUnavailable
from cht_sync.logs import fields
from cht_sync.pipeline.contracts import Batch, Input, PositionKeeper, Replaceable

log = logging.getLogger(__name__)

REST = 30.0
"""Seconds after which a source that did not tell is asked again."""


class Sweep:
    """The sweep of one input; it is at work from the first batch that is `reread` to the last."""

    def __init__(self, name: str, source: Input, keeper: PositionKeeper | None) -> None:
        self._name = name
        self._source = source
        self._keeper = keeper
        self._after: str | None = None
        self._rests_until = 0.0
        self._buried = 0

    def patience(self, usual: float) -> float:
        """Seconds that may be waited for the next batch: none while there is a page to look at."""
        if self._after is None:
            return usual
        return min(usual, max(0.0, self._rests_until - time.monotonic()))

    def go_on(self, batch: Batch, stop: threading.Event) -> None:
        """Look at one more page, if the batch says so. Raises what the keeper's `bury` raises."""
        if not batch.reread:
            self._after = None
        elif isinstance(self._source, Replaceable) and self._keeper is not None:
            if self._after is None:
                log.warning("%s: read again; looking for what the database does not have", self._name)
                self._after, self._buried = "", 0
            if time.monotonic() >= self._rests_until:
                self._look(self._source, self._keeper, self._after, stop)

    def _look(self, source: Replaceable, keeper: PositionKeeper, after: str, stop: threading.Event) -> None:
        documents = keeper.stored_after(after, stop)
        if stop.is_set():
            return
        if not documents:
            log.warning(
                "%s: %d documents became tombstones",
                self._name,
                self._buried,
                extra=fields(event="database_recreated", pipeline=self._name, tombstones=self._buried),
            )
            source.settled()
            return
        try:
            missing = source.missing([one.document_id for one in documents], stop)
        except SourceError as failure:
            rest = max(REST, failure.pause) if isinstance(failure, SourceUnavailable) else REST
            log.warning("%s: %s; asked again in %.0f s", self._name, failure, rest)
            self._rests_until = time.monotonic() + rest
            return
        gone = [one for one in documents if one.document_id in missing]
        if gone and not keeper.bury(gone, stop):
            return
        self._buried += len(gone)
        self._after = documents[-1].document_id
