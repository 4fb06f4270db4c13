"""Rows of the feed on their way into a portion: events, and dead letters of what can be none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from cht_sync.errors import SourceUnavailable
from cht_sync.pipeline.contracts import Position, Rejected
from cht_sync.pipeline.couchdb.client import CouchdbClient
from cht_sync.pipeline.couchdb.events import EventMaker
from cht_sync.pipeline.couchdb.handoff import Gathered
from cht_sync.pipeline.couchdb.rows import NO_DOCUMENT, NO_SEQUENCE, ROW_START, Row, decode_row, sequence_text

OF_NO_DOCUMENT = (b'{"error"', b"<", b"HTTP/")
"""How the words of an error begin, a page of a proxy, and an answer in the middle of another one."""
UNREADABLE = "the feed said a row that cannot be read"
MOST_REMEMBERED = 1_000
"""Rows that could not be read and are known again."""
FETCHES = 5
"""So often a document that the feed left out is asked for, each time with the feed read anew before."""


class Gatherer:
    """Turns rows into events; `position_at` makes the position of a sequence.

    Rows without a document are fetched, except where no documents were asked for. `asks_again` is false where
    reading ends with the first failure.
    """

    def __init__(
        self,
        client: CouchdbClient,
        make_event: EventMaker,
        position_at: Callable[[str], Position],
        stop: threading.Event,
        *,
        documents: bool,
        asks_again: bool = True,
    ) -> None:
        self._client = client
        self._make_event = make_event
        self._position_at = position_at
        self._stop = stop
        self._documents = documents
        self._asks_again = asks_again
        self._failed_fetches = ("", 0)
        self._unreadable: set[int] = set()

    def gather(self, rows: Iterable[bytes], portion: Gathered) -> int:
        """Put rows into the portion, with the position after them; return the bytes of its documents.

        Raises SourceUnavailable where what comes is no row, or a document cannot be fetched now: the rows
        before that are in the portion. A row that cannot be read may have been damaged on the way: only when
        it comes again as it was is it rejected, where it is asked for again.
        """
        last: Row | None = None
        lines = iter(rows)
        try:
            for line in lines:
                try:
                    row = decode_row(line)
                except ValueError as error:
                    if not line.startswith(ROW_START):
                        raise SourceUnavailable(_said(line)) from error
                    if self._asks_again and hash(line) not in self._unreadable:
                        self._remember_unreadable(line, lines)
                        raise SourceUnavailable(UNREADABLE) from error
                    portion.reject(_malformed(line, error))
                    continue
                self._add(row, portion)
                if row.seq != NO_SEQUENCE:
                    last = row
        finally:
            # Also where a row fails: those before it are handed over.
            reached = None if last is None else sequence_text(last.seq)
            if reached:
                portion.position = self._position_at(reached)
        return portion.size

    def _remember_unreadable(self, line: bytes, others: Iterable[bytes]) -> None:
        """Know this row again, and those after it, so that they need not be read once more one by one."""
        if len(self._unreadable) >= MOST_REMEMBERED:
            self._unreadable.clear()
        self._unreadable.add(hash(line))
        for other in others:
            try:
                decode_row(other)
            except ValueError:
                self._unreadable.add(hash(other))

    def _add(self, row: Row, portion: Gathered) -> None:
        document = bytes(row.doc)
        if self._documents and document in NO_DOCUMENT:
            fetched = self._fetch(row.id, _revision(row))
            if fetched is None:
                reason = "the feed gave no document, nor did the server"
                portion.reject(_rejected(row, "no_document", reason))
                return
            document = fetched
        try:
            event = self._make_event(row, document)
        except ValueError as error:
            text = document.decode(errors="backslashreplace")
            portion.reject(_rejected(row, "malformed", str(error), text))
            return
        portion.add(row.id, event, len(document))

    def _fetch(self, document_id: str, revision: str) -> bytes | None:
        """Return the document; None where it is gone, or the server failed to give it so many times."""
        try:
            fetched = self._client.document(document_id, revision, self._stop)
        except SourceUnavailable:
            failed_id, count = self._failed_fetches
            count = count + 1 if failed_id == document_id else 1
            if count < FETCHES:
                self._failed_fetches = (document_id, count)
                raise
            fetched = None
        self._failed_fetches = ("", 0)
        return fetched


def _said(line: bytes) -> str:
    """An error's or a proxy's words as they are; a piece of a document is not for a log."""
    if line.startswith(OF_NO_DOCUMENT):
        return f"the feed said {line[:120].decode(errors='replace')!r}"
    return UNREADABLE


def _revision(row: Row) -> str:
    return row.changes[0].rev if row.changes else ""


def _rejected(row: Row, code: str, reason: str, document: str | None = None) -> Rejected:
    return Rejected(row.id, _revision(row), sequence_text(row.seq), code, reason, document)


def _malformed(line: bytes, error: ValueError) -> Rejected:
    return Rejected(
        None, None, None, "malformed", f"the row is no JSON: {error}", line.decode(errors="backslashreplace")
    )
