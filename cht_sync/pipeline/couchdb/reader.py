"""The thread that reads a database's changes for ever: pages while there is a backlog, then the live feed.

Pages, because a continuous feed hands a backlog over a few documents at a time. The live feed, because
it brings a change milliseconds after it was saved. When the live feed brings more than is delivered,
pages are read again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from cht_sync import backoff
from cht_sync.errors import LoginRefused, SourceError, SourceUnavailable
from cht_sync.pipeline.contracts import Position, Rejected
from cht_sync.pipeline.couchdb.client import CouchdbClient
from cht_sync.pipeline.couchdb.events import EventMaker
from cht_sync.pipeline.couchdb.handoff import Gathered, Handoff
from cht_sync.pipeline.couchdb.rows import (
    NO_DOCUMENT,
    ROW_START,
    PageEnd,
    Row,
    continuous_end,
    decode_row,
    page_rows,
    sequence_text,
    split_lines,
)

log = logging.getLogger(__name__)

ROWS_BEFORE_HAND_OVER = 16 << 20
"""Bytes of documents after which the rows of a page are handed over before the page is complete."""

FETCHES = 5
"""So often a document that the feed left out is asked for, each time with the feed read anew before."""

PAUSE_AFTER_END = 0.2
"""Seconds between the regular end of a live feed and the next request: a server that ends every feed
at once must not be asked without pause."""


@dataclass(frozen=True)
class Pace:
    """How a feed is read: rows a page, seconds between heartbeats, the longest pause after a failure."""

    page: int
    heartbeat: float
    reconnect_delay: float


class ChangesReader(threading.Thread):
    """Reads the changes of `source` after `since` into `handoff` until `stop` or `close`.

    A failure is retried with back-off for as long as waiting can mend it; what it cannot mend is handed
    to whoever takes from the hand-off.
    """

    def __init__(
        self,
        client: CouchdbClient,
        handoff: Handoff,
        make_event: EventMaker,
        *,
        source: str,
        since: str,
        pace: Pace,
    ) -> None:
        super().__init__(name=f"changes of {source}", daemon=True)
        self._client = client
        self._handoff = handoff
        self._make_event = make_event
        self._source = source
        self._since = since
        self._pace = pace
        self._failed_fetches = ("", 0)
        self._stop_reading = threading.Event()
        self.live = threading.Event()
        """Set while the live feed is followed, that is, while nothing older waits at the server."""

    @property
    def since(self) -> str:
        """The sequence after the last change that was handed over."""
        return self._since

    def close(self) -> None:
        """End the thread; it may be waiting for the server."""
        self._stop_reading.set()
        self._client.interrupt()

    def run(self) -> None:
        try:
            self._read_on()
        except Exception as failure:
            # Whoever takes from the hand-off must hear of it: a thread that ends unheard stops the pipeline.
            self._handoff.fail(failure)
        finally:
            self._client.close()

    def _read_on(self) -> None:
        """Read until closed. Raises SourceError for what waiting cannot mend."""
        delays = backoff.delays(first=0.2, most=self._pace.reconnect_delay)
        while not self._stop_reading.is_set():
            reached = self._since
            try:
                if self._catch_up() and not self._follow():
                    self._stop_reading.wait(PAUSE_AFTER_END)
            except LoginRefused as refusal:
                self._pause(refusal, self._client.login_pause())
                continue
            except SourceUnavailable as failure:
                if self._since != reached:
                    delays = backoff.delays(first=0.2, most=self._pace.reconnect_delay)
                self._pause(failure, next(delays))
                continue
            finally:
                self.live.clear()
            delays = backoff.delays(first=0.2, most=self._pace.reconnect_delay)

    def _pause(self, failure: SourceError, seconds: float) -> None:
        if not self._stop_reading.is_set():
            hint = f" {failure.hint}" if failure.hint else ""
            log.warning("%s: %s; next try in %.1f s.%s", self._source, failure, seconds, hint)
            self._stop_reading.wait(seconds)

    def _catch_up(self) -> bool:
        """Read pages until one is not full; True when the live feed can take over."""
        while not self._stop_reading.is_set():
            count = 0
            with self._client.page(self._since, self._pace.page, self._stop_reading) as feed:
                portion = Gathered()
                try:
                    for item in page_rows(feed.chunks()):
                        if isinstance(item, PageEnd):
                            self._hand_over(portion, sequence_text(item.last_seq), item.pending)
                            break
                        count += len(item)
                        if self._gather(item, portion) > ROWS_BEFORE_HAND_OVER:
                            self._hand_over(portion, None, None)
                            portion = Gathered()
                except SourceUnavailable:
                    # What came is good: a page that breaks every time must not be read for ever.
                    self._hand_over(portion, None, None)
                    raise
            if count < self._pace.page:
                return not self._stop_reading.is_set()
        return False

    def _follow(self) -> bool:
        """Follow the live feed until it ends; True if we are so far behind that pages are better."""
        with self._client.continuous(self._since, self._pace.heartbeat, self._stop_reading) as feed:
            self.live.set()
            for lines in split_lines(feed.chunks()):
                if self._stop_reading.is_set():
                    return False
                rows = [line for line in lines if line]
                end = continuous_end(rows[-1]) if rows else None
                if end is not None:
                    rows.pop()
                portion = Gathered()
                self._gather(rows, portion)
                if len(portion) and self._hand_over(portion, None, 0):
                    return True
                if end is not None:
                    break
        return False

    def _gather(self, rows: Iterable[bytes], portion: Gathered) -> int:
        """Turn rows into events; return the bytes of documents in the portion."""
        for line in rows:
            try:
                row = decode_row(line)
            except ValueError as error:
                if not line.startswith(ROW_START):
                    shown = line[:120].decode(errors="replace")
                    raise SourceUnavailable(f"the feed said {shown!r}") from error
                portion.rejected.append(_malformed(line, error))
                continue
            self._add(row, portion)
            sequence = sequence_text(row.seq)
            if sequence is not None:
                portion.position = Position(self._source, sequence)
        return portion.size

    def _add(self, row: Row, portion: Gathered) -> None:
        document = bytes(row.doc)
        revision = row.changes[0].rev if row.changes else ""
        sequence = sequence_text(row.seq)
        if document in NO_DOCUMENT:
            fetched = self._fetch(row.id, revision)
            if fetched is None:
                reason = "the feed gave no document, nor did the server"
                portion.rejected.append(Rejected(row.id, revision, sequence, "no_document", reason))
                return
            document = fetched
        try:
            event = self._make_event(row, document)
        except ValueError as error:
            text = document.decode(errors="replace")
            portion.rejected.append(Rejected(row.id, revision, sequence, "malformed", str(error), text))
            return
        portion.add(row.id, event, len(document))

    def _fetch(self, document_id: str, revision: str) -> bytes | None:
        """Return the document; None where it is gone, or the server failed to give it so many times."""
        try:
            fetched = self._client.document(document_id, revision, self._stop_reading)
        except SourceUnavailable:
            failed_id, count = self._failed_fetches
            count = count + 1 if failed_id == document_id else 1
            if count < FETCHES:
                self._failed_fetches = (document_id, count)
                raise
            fetched = None
        self._failed_fetches = ("", 0)
        return fetched

    def _hand_over(self, portion: Gathered, sequence: str | None, pending: int | None) -> bool:
        """Put a portion with the position after it; True if we are behind."""
        if sequence is None and portion.position is not None:
            sequence = portion.position.sequence
        if sequence is not None:
            portion.position = Position(self._source, sequence, pending)
        behind = self._handoff.put(portion)
        self._since = sequence or self._since
        return behind


def _malformed(line: bytes, error: ValueError) -> Rejected:
    return Rejected(
        None, None, None, "malformed", f"the row is no JSON: {error}", line.decode(errors="replace")
    )
