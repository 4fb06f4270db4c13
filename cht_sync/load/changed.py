"""Which documents the pipeline has still to bring: those are left to it.

The order of the looks is what makes the answer right. First the position that the pipeline has stored; then
a document is read; then the changes after that position. What was changed before that position is stored with
it, and its row is newer than the load. What is not among the changes is what was read. What is changed after
the look comes after what we write.
"""

from __future__ import annotations

from collections.abc import Set

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
        self._position: str | None = None
        self._after = FROM_THE_START

    def begin(self) -> None:
        """To be called before documents are read. Raises psycopg2.Error."""
        if self._position is not None and len(self._ids) <= MOST_REMEMBERED:
            return
        position = self._table.reading().sequence or FROM_THE_START
        if position != self._position:
            self._position = self._after = position
            self._ids = set()

    def look(self) -> Set[str]:
        """All up to this moment; not to be kept. Raises SourceError."""
        for page, after in self._couch.pages(self._after):
            self._ids.update(change.id for change in page)
            self._after = after
        return self._ids
