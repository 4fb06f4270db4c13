"""Which documents the pipeline has still to bring: those are left to it.

The order of the looks is what makes the answer right. First a document is read; then the position that the
pipeline has stored; then the changes after it. What was changed before that position is stored with it, and
its row is newer than the load. What is changed after the look comes after what we write.
"""

from __future__ import annotations

from cht_sync.reconcile.couch import FROM_THE_START, Couch
from cht_sync.reconcile.table import Table

MOST_REMEMBERED = 200_000
"""Ids after which the position is looked at anew, so that those that are stored meanwhile are forgotten."""


class Changed:
    """Ids of the documents that were changed after a position that the pipeline has stored.

    An older position only makes them more, so it is kept, and each look reads on from where the last ended.
    """

    def __init__(self, couch: Couch, table: Table) -> None:
        self._couch = couch
        self._table = table
        self._ids: set[str] = set()
        self._after: str | None = None

    def look(self) -> frozenset[str]:
        """All up to this moment. Raises SourceError and psycopg2.Error."""
        if self._after is None or len(self._ids) > MOST_REMEMBERED:
            self._after = self._table.reading().sequence or FROM_THE_START
            self._ids = set()
        for page, after in self._couch.pages(self._after):
            self._ids.update(change.id for change in page)
            self._after = after
        return frozenset(self._ids)
