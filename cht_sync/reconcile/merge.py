"""Two lists in the order of ids, compared in one pass.

Whatever has no equal partner is a candidate, so nothing is lost where a list is not in order: both sides
of a pair that was missed are candidates then, and are found equal when they are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

RowOfTable = tuple[str, str | None, bool]
"""Id, revision and deletion mark."""


@dataclass
class Tally:
    """What passed by."""

    listed: int = 0
    rows: int = 0
    tombstones: int = 0
    greatest: str = ""
    """The greatest id that CouchDB listed."""


def candidates(listed: Iterable[tuple[str, str]], table: Iterable[RowOfTable], tally: Tally) -> Iterator[str]:
    """Yield the ids of living documents and rows that do not match; a tombstone needs no document."""
    rows = _counted(table, tally)
    row = next(rows, None)
    for document_id, revision in listed:
        tally.listed += 1
        tally.greatest = max(tally.greatest, document_id)
        while row is not None and row[0] < document_id:
            if not row[2]:
                yield row[0]
            row = next(rows, None)
        if row is None or row[0] != document_id:
            yield document_id
            continue
        if row[2] or row[1] != revision:
            yield document_id
        row = next(rows, None)
    while row is not None:
        if not row[2]:
            yield row[0]
        row = next(rows, None)


def _counted(table: Iterable[RowOfTable], tally: Tally) -> Iterator[RowOfTable]:
    for row in table:
        if row[2]:
            tally.tombstones += 1
        else:
            tally.rows += 1
        yield row
