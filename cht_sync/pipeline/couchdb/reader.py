"""The thread that reads a database's changes: pages while there is a backlog, then the live feed.

Pages, because a continuous feed hands a backlog over a few documents at a time. The live feed, because
it brings a change milliseconds after it was saved. When the live feed brings more than is delivered,
pages are read again. In the mode `longpoll` a request that waits for the next change takes the live feed's
place; in the mode `normal` nothing does, and reading ends.

Before the first page, and again once a connection has ended or failed, it is asked whether this is still
the database that the position belongs to; and when a live feed stands, since that one ends with its
database. One that was made anew is read from its start; another server is an operator's decision.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Literal

from cht_sync import backoff
from cht_sync.errors import LoginRefused, OperatorNeeded, SourceError, SourceUnavailable, sentences
from cht_sync.logs import fields, short_sequence
from cht_sync.pipeline.contracts import Position
from cht_sync.pipeline.couchdb.client import CouchdbClient, Feed, Wait
from cht_sync.pipeline.couchdb.events import EventMaker
from cht_sync.pipeline.couchdb.gatherer import Gatherer
from cht_sync.pipeline.couchdb.handoff import Gathered, Handoff
from cht_sync.pipeline.couchdb.hints import to_correct
from cht_sync.pipeline.couchdb.identity import Identity
from cht_sync.pipeline.couchdb.rows import (
    PageEnd,
    continuous_end,
    page_pending,
    page_rows,
    sequence_text,
    split_lines,
)
from cht_sync.pipeline.monitor.metrics import InputMetrics
from cht_sync.pipeline.outage import Outage

log = logging.getLogger(__name__)

ROWS_BEFORE_HAND_OVER = 16 << 20
"""Bytes of documents after which the rows of a page are handed over before the page is complete."""

PAUSE_AFTER_END = 0.2
"""Seconds between the regular end of a live feed and the next request: a server that ends every feed
at once must not be asked without pause."""

FROM_THE_START = "0"

Mode = Literal["continuous", "longpoll", "normal"]


@dataclass(frozen=True)
class Pace:
    """How a feed is read: rows a page, seconds between heartbeats, the longest pause after a failure.

    With a `timeout` (seconds) the live feed has no heartbeats and ends when nothing changes for so long.
    Without `reconnects` reading ends with the live feed, and fails at the first failure.
    """

    page: int
    heartbeat: float
    reconnect_delay: float
    timeout: float | None = None
    mode: Mode = "continuous"
    reconnects: bool = True

    @property
    def wait(self) -> Wait:
        return Wait(self.heartbeat, self.timeout)


class ChangesReader(threading.Thread):
    """Reads the changes of `source` after `since` into `handoff` until `stop` or `close`.

    `known` is what is known of where `since` belongs; None where nobody shall ask. A failure is retried
    with back-off for as long as waiting can mend it; what it cannot mend is handed to whoever takes from
    the hand-off. What is read is counted in `metrics`. Rows without a document are fetched, except where no
    documents were asked for.
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
        known: Identity | None = None,
        metrics: InputMetrics | None = None,
        documents: bool = True,
    ) -> None:
        super().__init__(name=f"changes of {source}", daemon=True)
        self._client = client
        self._handoff = handoff
        self._source = source
        self._since = since
        self._pace = pace
        self._known = known or Identity()
        self._watches = known is not None
        self._metrics = metrics or InputMetrics("input", "couchdb_changes", source, shown=False)
        self._in_doubt = True
        self._has_said_where = False
        self._outage = Outage()
        self._stop_reading = threading.Event()
        self._gatherer = Gatherer(
            client,
            make_event,
            self._position,
            self._stop_reading,
            documents=documents,
            asks_again=pace.reconnects,
        )
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
            if not self._stop_reading.is_set():
                self._handoff.end()
        except Exception as failure:
            # Whoever takes from the hand-off must hear of it: a thread that ends unheard stops the pipeline.
            self._handoff.fail(failure)
        finally:
            self._client.close()

    def _read_on(self) -> None:
        """Read until closed, or to the end where there is one.

        Raises SourceError for what waiting cannot mend, and for any failure where that is the end.
        """
        delays = backoff.delays(first=0.2, most=self._pace.reconnect_delay)
        while not self._stop_reading.is_set():
            reached = self._since
            try:
                if self._in_doubt:
                    self._identify()
                if self._catch_up() and not self._go_on():
                    return
            except LoginRefused as refusal:
                self._in_doubt = True
                self._end_if_that_is_the_end(refusal)
                self._pause(refusal, self._client.login_pause())
                continue
            except SourceUnavailable as failure:
                self._in_doubt = True
                self._end_if_that_is_the_end(failure)
                if self._since != reached:
                    delays = backoff.delays(first=0.2, most=self._pace.reconnect_delay)
                self._pause(failure, max(next(delays), failure.pause))
                continue
            finally:
                self.live.clear()
            delays = backoff.delays(first=0.2, most=self._pace.reconnect_delay)

    def _go_on(self) -> bool:
        """Wait for changes, as the mode says; False where there is nothing to wait for."""
        if self._pace.mode == "normal":
            return False
        if self._pace.mode == "longpoll":
            self._poll()
        elif not self._follow():
            self._in_doubt = True
            if not self._pace.reconnects:
                return False
            self._metrics.reconnected()
            self._stop_reading.wait(PAUSE_AFTER_END)
        return True

    def _end_if_that_is_the_end(self, failure: SourceError) -> None:
        if not self._pace.reconnects and not self._stop_reading.is_set():
            raise failure

    def _pause(self, failure: SourceError, seconds: float) -> None:
        if not self._stop_reading.is_set():
            hint = f" {failure.hint}" if failure.hint else ""
            self._metrics.lost(sentences(failure), serious=isinstance(failure, LoginRefused))
            said = str(failure).rstrip(".")
            self._outage.failed()
            log.warning(
                "%s: %s; next try in %.1f s.%s",
                self._source,
                said,
                seconds,
                hint,
                extra=fields(
                    event="source_unavailable",
                    source=self._source,
                    error=sentences(failure),
                    attempts=self._outage.attempts,
                    pause_seconds=seconds,
                ),
            )
            self._stop_reading.wait(seconds)

    def _identify(self) -> bool:
        """Make sure that the position belongs to what is there; False if reading begins anew.

        Raises OperatorNeeded for another server.
        """
        if not self._watches:
            self._say_where(tells=True)
            return True
        found = self._client.identity(self._stop_reading)
        if self._known.is_another_server(found):
            raise OperatorNeeded(
                f"CouchDB's uuid is {found.server_uuid} and was {self._known.server_uuid}: this is another "
                f"server than the one that {self._source} was read from, and nothing is read",
                hint=f"Correct {to_correct('COUCHDB_HOST', 'host')}; or, if it takes the other's place: "
                "cht-sync accept-server --from-start; or, if it goes on with the same data: cht-sync "
                "accept-server --continue.",
            )
        before, self._known = self._known, self._known.completed_by(found)
        self._in_doubt = False
        if before.is_another_instance(found):
            log.error(
                "%s: the database was deleted and made anew (instance_start_time %s, before %s): it is read "
                "from its start, and what it does not have becomes tombstones",
                self._source,
                found.instance_start_time,
                before.instance_start_time,
                extra=fields(event="database_recreated", source=self._source),
            )
            self._hand_over(Gathered(), FROM_THE_START, None)
            return False
        self._say_where(tells=found.instance_start_time is not None)
        return True

    def _say_where(self, *, tells: bool) -> None:
        """Say once where reading begins, and whether a database made anew would be noticed."""
        if self._has_said_where:
            return
        self._has_said_where = True
        begins = self._since == FROM_THE_START
        log.info(
            "%s: reading %s",
            self._source,
            "from the start" if begins else f"after {short_sequence(self._since)}",
            extra=fields(event="reading_started", source=self._source, sequence=self._since),
        )
        if not tells:
            log.info(
                "%s: this server does not tell when a database was deleted and made anew; after that, "
                "cht-sync verify shows what differs",
                self._source,
            )

    def _catch_up(self) -> bool:
        """Read pages until one is not full; True when the live feed can take over."""
        while not self._stop_reading.is_set():
            with self._client.page(self._since, self._pace.page, self._stop_reading) as feed:
                self._connected()
                count = self._read_page(feed)
            if count < self._pace.page:
                return not self._stop_reading.is_set()
        return False

    def _connected(self) -> None:
        self._metrics.connected()
        if lasted := self._outage.over():
            log.info(
                "%s: CouchDB answers again after %.1f s",
                self._source,
                lasted.seconds,
                extra=fields(
                    event="source_recovered",
                    source=self._source,
                    attempts=lasted.attempts,
                    duration_seconds=lasted.seconds,
                ),
            )

    def _read_page(self, feed: Feed) -> int:
        """Hand over the rows of a page and the position at its end; return how many there were."""
        count = 0
        portion = Gathered()
        try:
            for item in page_rows(feed.chunks()):
                if isinstance(item, PageEnd):
                    portion.caught_up = count < self._pace.page
                    self._hand_over(portion, sequence_text(item.last_seq), item.pending)
                    break
                count += len(item)
                if self._gatherer.gather(item, portion) > ROWS_BEFORE_HAND_OVER:
                    self._hand_over(portion, None, None)
                    portion = Gathered()
        except SourceUnavailable:
            # What came is good: a page that breaks every time must not be read for ever.
            self._hand_over(portion, None, None)
            raise
        return count

    def _poll(self) -> None:
        """Wait for changes, one request after another, until we are so far behind that pages are better."""
        while not self._stop_reading.is_set():
            pace = self._pace
            with self._client.longpoll(self._since, pace.page, pace.wait, self._stop_reading) as feed:
                # Each request may be the first to another database of this name.
                if not self._identify():
                    return
                self.live.set()
                self._connected()
                count = self._read_page(feed)
            if count >= pace.page:
                return
            if count == 0:
                self._stop_reading.wait(PAUSE_AFTER_END)

    def _follow(self) -> bool:
        """Follow the live feed until it ends; True if we are so far behind that pages are better."""
        with self._client.continuous(self._since, self._pace.wait, self._stop_reading) as feed:
            if not self._identify():
                return True
            self.live.set()
            for lines in split_lines(feed.chunks()):
                if self._stop_reading.is_set():
                    return False
                rows = [line for line in lines if line]
                end = continuous_end(rows[-1]) if rows else None
                if end is not None:
                    rows.pop()
                portion = Gathered()
                self._gatherer.gather(rows, portion)
                if len(portion) and self._hand_over(portion, None, 0):
                    return True
                if end is not None:
                    break
        return False

    def _hand_over(self, portion: Gathered, sequence: str | None, pending: int | None) -> bool:
        """Put a portion with the position after it; True if we are behind."""
        if sequence is None and portion.position is not None:
            sequence = portion.position.sequence
        if sequence is not None:
            portion.position = self._position(sequence, pending)
        portion.changes = len(portion)
        at_end = portion.caught_up or self.live.is_set()
        self._metrics.offered(portion.changes, portion.size, behind=pending, at_end=at_end)
        began = time.perf_counter_ns()
        behind = self._handoff.put(portion, lambda: self._count_what_waits(sequence or self._since))
        self._metrics.pushed(time.perf_counter_ns() - began)
        self._since = sequence or self._since
        return behind

    def _count_what_waits(self, since: str) -> None:
        """Ask how many changes there are after those that wait for room; a figure for the monitoring only."""
        try:
            answer = self._client.ask("_changes", {"since": since, "limit": "0"}, self._stop_reading)
            pending = page_pending(answer)
        except (SourceError, ValueError):
            return
        if pending is not None:
            self._metrics.waits_at_the_source(pending)

    def _position(self, sequence: str, pending: int | None = None) -> Position:
        known = self._known
        return Position(self._source, sequence, pending, known.server_uuid, known.instance_start_time)
