"""Rows of the right revision whose document is not what the pipeline makes of CouchDB's.

Somebody changed them in PostgreSQL, or they were written before a setting of redaction. `verify` compares
revisions and sees none of them. A document of one revision never changes, so writing one over a row of that
same revision turns nothing back, however long ago it was read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import psycopg2

from cht_sync.errors import DocumentRefused
from cht_sync.pipeline.postgrest.row import Row, mended
from cht_sync.pipeline.postgrest.storable import is_storable_text
from cht_sync.reconcile.couch import Document
from cht_sync.reconcile.repair import BATCH, MOST_BYTES
from cht_sync.reconcile.row import RowMaker
from cht_sync.reconcile.state import State
from cht_sync.reconcile.table import Table
from cht_sync.reconcile.writing import Outcome, Replacement, is_documents_fault, write

AT_ONCE = 500
"""Most rows that are compared in one query."""


@dataclass
class Contents:
    """What was looked at."""

    looked_at: int = 0
    """Documents, deletions included."""
    elsewhere: int = 0
    """Those of them without a row of their revision: a repair's matter."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    """Of those whose row had another content."""


@dataclass(frozen=True)
class _Made:
    """What is to be the row, and of which row it is the content."""

    row: Row
    of: State


def mend_contents(
    documents: Iterable[Document],
    table: Table,
    maker: RowMaker,
    tally: Contents,
    advance: Callable[[], None],
) -> None:
    """Write the content of those rows anew; `table` is read as the owner. Counts in `tally` as it goes.

    `advance` is called after each step. Raises SourceError and psycopg2.Error; what was written before stays.
    """
    for part in _parts(documents, maker, tally):
        looked_at = _look(part, table)
        tally.elsewhere += len(part) - len(looked_at)
        different = [Replacement(row, state) for row, state, same in looked_at if not same]
        for start in range(0, len(different), BATCH):
            tally.outcomes.update(write(table, different[start : start + BATCH]))
        advance()


def those_as_made(documents: Iterable[Document], table: Table, maker: RowMaker) -> set[str]:
    """The ids of those whose row is what the pipeline makes of them.

    Raises SourceError and psycopg2.Error.
    """
    parts = _parts(documents, maker, Contents())
    return {row.document_id for part in parts for row, _state, same in _look(part, table) if same}


def _parts(documents: Iterable[Document], maker: RowMaker, tally: Contents) -> Iterator[list[_Made]]:
    """Rows that go into one query; of a document that comes twice the last."""
    part: dict[str, _Made] = {}
    size = 0
    for document in documents:
        tally.looked_at += 1
        made = _made(document, maker)
        if made is None:
            tally.elsewhere += 1
            continue
        part[document.id] = made
        size += len(made.row.body)
        if len(part) >= AT_ONCE or size > MOST_BYTES:
            yield list(part.values())
            part, size = {}, 0
    yield list(part.values())


def _made(document: Document, maker: RowMaker) -> _Made | None:
    """The row; None of what can be none. The pipeline has made a dead letter of that."""
    if not document.id or not is_storable_text(document.id):
        return None
    try:
        row = maker.first_try(document.id, document.state, document.content)
    except DocumentRefused:
        return None
    return None if row is None else _Made(row, State(row.revision, document.state.deleted))


def _look(part: Sequence[_Made], table: Table) -> list[tuple[Row, State, bool]]:
    """Return those that have a row of their revision: the row to be, what is there, whether that is equal.

    One that can be no jsonb is not.
    """
    if not part:
        return []
    try:
        found = table.compared([one.row.body for one in part])
    except (psycopg2.Error, UnicodeDecodeError) as error:
        if isinstance(error, psycopg2.Error) and not is_documents_fault(error):
            raise
        if len(part) == 1:
            (made,) = part
            row = mended(made.row)
            if row.body != made.row.body:
                return _look([_Made(row, made.of)], table)
            return [(row, made.of, False)]
        middle = len(part) // 2
        return _look(part[:middle], table) + _look(part[middle:], table)
    return [(one.row, *found[one.row.document_id]) for one in part if one.row.document_id in found]
