"""The one writer of a source: it takes an epoch, and its every request carries the position.

Source, sequence, pending count, epoch and batch number travel as request headers of the data; the
table's trigger writes them in the same transaction and refuses an older (epoch, batch number). Each
request, also a repeated one, has a new number: one that its client gave up but that still waits in the
server is older than its successor, so it cannot write any more. Each also names the last request that is
known to be stored: a database that was put back to an earlier state refuses it, and the writer begins
again from the position there. With the position goes what it belongs to (the CouchDB server's uuid, the
database's creation), and a problem that keeps the pipeline from reading. See postgres/init-db-resources.sh.

Before a row whose document had what jsonb cannot hold goes the note of it, in a request of its own. A crash
between the two leaves a note whose row follows; the same note again changes nothing.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from urllib.parse import quote

from cht_sync.errors import DeliveryError, Superseded
from cht_sync.pipeline.contracts import Position, Rejected, StoredDocument
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.postgrest.beside import Beside
from cht_sync.pipeline.postgrest.connection import PostgrestConnection
from cht_sync.pipeline.postgrest.heart import Heart, OtherHeart
from cht_sync.pipeline.postgrest.retry import Errors, GivenUp, Result, refusal_of, until_done
from cht_sync.pipeline.postgrest.row import Row, mended, rejected
from cht_sync.pipeline.postgrest.split_batch import SplitBatch
from cht_sync.pipeline.postgrest.splitting import blaming, send_in_parts
from cht_sync.pipeline.postgrest.storable import REFUSALS

log = logging.getLogger(__name__)

PROGRESS = "couchdb_progress"
POSITION_COLUMNS = ("seq", "pending", "server_uuid", "instance_start_time", "rereading")
EPOCHS = 1_000_000
"""Of so many one is taken by chance: above the greatest, far below the 18 digits that the trigger takes."""
PAGE = 1000
"""Documents that are listed at once."""
LETTERS_AT_ONCE = 8 << 20
"""Characters of documents after which dead letters are stored before the batch has ended."""


class Writer:
    """Writes rows of one source into one table, with the position."""

    def __init__(
        self,
        connection: PostgrestConnection,
        base_url: str,
        table_url: str,
        dead_letters: DeadLetterFile | None = None,
        metrics: OutputMetrics | None = None,
        heart: Heart | None = None,
    ) -> None:
        """Dead letters go to the table, and where there is a file, to that too.

        Without a `heart` nobody can take over before the hold has passed.
        """
        self._connection = connection
        self._metrics = metrics or OutputMetrics("output", "http", "", shown=False)
        self._beside = Beside(connection, base_url, dead_letters, self._metrics)
        self._table_url = table_url
        self._source = ""
        self._epoch = 0
        self._number = 0
        self._stored = 0
        """The number of the last request of this epoch that is known to be stored."""
        self._heart = heart
        self._last_sign = (0, 0, 0.0)
        self._other_heart = OtherHeart(connection, base_url)
        self._problem: str | None = None

    def claim(self, source: str, stop: threading.Event) -> Position | None:
        """Take the next epoch of `source`, then return its position; see contracts.PositionKeeper."""
        self._source = source
        # After the epoch is taken nobody else moves the position, so it is read second.
        try:
            self._retry(self._take_epoch, stop, also=(Superseded,))
            if self._heart is not None:
                self._heart.beat(source, self._epoch)
            return self._retry(self._saved_position, stop)
        except GivenUp:
            return None

    def fall_silent(self) -> None:
        """Give no sign of life any more to those that stand by; see contracts.PositionKeeper."""
        if self._heart is not None:
            self._heart.stop()

    def is_released(self, stop: threading.Event) -> bool:
        """Whether the writer that holds the source has ended or shows no sign of life.

        Asked again and again. No clock of another machine is believed: a sign of life is a batch
        number that has changed since the last look, or a heart that has beaten. A writer whose heart is
        known counts as gone seconds after it has stopped, others after the time of their hold. If that is
        wrong, the one is refused as the other writes.
        """
        try:
            return self._retry(self._looks_released, stop)
        except GivenUp:
            return False

    def report(self, problem: str, stop: threading.Event) -> None:
        """Say with the position why nothing is read, until something is; see contracts.PositionKeeper."""
        self._problem = problem
        with contextlib.suppress(GivenUp):
            self._retry(lambda: self._send([], None), stop)

    def stored_after(self, document_id: str, stop: threading.Event) -> Sequence[StoredDocument]:
        """Return the next documents in the order of their ids, deleted ones left out."""
        table_url = self._table_url.partition("?")[0]
        try:
            rows = self._retry(
                lambda: self._connection.page(table_url, ["_id", "_rev"], after=document_id, limit=PAGE), stop
            )
        except GivenUp:
            return []
        return [StoredDocument(row["_id"], row["_rev"]) for row in rows]

    def write(self, rows: Sequence[Row], position: Position | None, stop: threading.Event) -> bool:
        """Store all rows and the position; a row that is refused for good becomes a dead letter.

        False when `stop` was set while the database was waited for. Raises Superseded.
        """
        try:
            self._write(rows, position, stop)
        except GivenUp:
            log.warning("%s: stopped while it waits; the batch in hand is not acknowledged", self._source)
            return False
        return True

    def reject(self, rejected: Sequence[Rejected], stop: threading.Event) -> bool:
        """Store dead letters; one that is there already stays as it is. False when stopped while waiting."""
        try:
            self._beside.reject(self._source, rejected, stop)
        except GivenUp:
            return False
        return True

    def _write(self, rows: Sequence[Row], position: Position | None, stop: threading.Event) -> None:
        self._beside.note(self._source, rows, stop)
        letters: list[Rejected] = []
        batch = SplitBatch(self._source, len(rows))

        def send(part: Sequence[Row], last: bool) -> DeliveryError | None:
            if last or sum(len(letter.document or "") for letter in letters) > LETTERS_AT_ONCE:
                self._beside.reject(self._source, letters, stop)
                letters.clear()
            batch.sent()
            # The position moves only with the last part, when all else is safe.
            work = partial(self._send, part, position if last else None)
            blame = blaming(len(part), sum(len(row.body) for row in part))
            return refusal_of(work, stop, self._source, self._metrics, blame)

        def remedy(part: Sequence[Row], refusal: DeliveryError) -> Sequence[Row] | None:
            better = [mended(row) for row in part] if refusal.code in REFUSALS else part
            changed = [row for row, before in zip(better, part, strict=True) if row != before]
            if changed:
                self._beside.note(self._source, changed, stop)
                return better
            if len(part) > 1:
                batch.split(refusal)
                return None
            letters.append(rejected(part[0], refusal))
            batch.buried()
            return []

        send_in_parts(rows, send, remedy)
        batch.ended()

    def release(self) -> None:
        """Say that nothing more comes, so that another may write at once; tried only once."""
        self._beside.close()
        if self._heart is not None:
            self._heart.close()
        if self._epoch == 0:
            return
        try:
            self._send([], None, release=True)
        except DeliveryError as error:
            log.debug("%s: not released: %s", self._source, error)

    def _take_epoch(self) -> None:
        rows = self._connection.select(PROGRESS, ["epoch"], source=self._source)
        # Also above our own: a restored backup may hold an older one. By chance, since after a restore the
        # next number may be that of a writer which still lives and was not there when the backup was made:
        # two with one epoch could both pass the trigger's checks.
        known = max([self._epoch, *(int(row["epoch"]) for row in rows)])
        self._epoch = known + 1 + secrets.randbelow(EPOCHS)
        self._number = self._stored = 0
        self._metrics.epoch = self._epoch
        self._send([], None)

    def _saved_position(self) -> Position | None:
        rows = self._connection.select(PROGRESS, POSITION_COLUMNS, source=self._source)
        if not rows or not rows[0]["seq"]:
            return None
        return Position(self._source, *(rows[0][column] for column in POSITION_COLUMNS))

    def _looks_released(self) -> bool:
        columns = ["epoch", "batch", "updated_at", "held_until"]
        rows = self._connection.select(PROGRESS, columns, source=self._source)
        if not rows or rows[0]["epoch"] <= self._epoch:
            return True  # nobody else: a backup was restored, or a request of our own came twice
        row = rows[0]
        hold = datetime.fromisoformat(row["held_until"]) - datetime.fromisoformat(row["updated_at"])
        now = time.monotonic()
        if self._last_sign[:2] != (row["epoch"], row["batch"]):
            self._last_sign = (row["epoch"], row["batch"], now)
        has_stopped = self._other_heart.has_stopped(self._source, self._epoch, row["epoch"], row["batch"])
        return has_stopped or now - self._last_sign[2] >= hold.total_seconds()

    def _send(self, rows: Sequence[Row], position: Position | None, *, release: bool = False) -> None:
        self._number += 1
        headers = {
            "cht-sync-source": self._source,
            "cht-sync-epoch": str(self._epoch),
            "cht-sync-batch": str(self._number),
        }
        if position is not None or rows:
            self._problem = None
        if position is not None:
            headers |= _position_headers(position)
        if self._problem is not None:
            headers["cht-sync-problem"] = quote(self._problem, safe="")
        if self._stored:
            headers["cht-sync-after"] = str(self._stored)
        if release:
            headers["cht-sync-release"] = "true"
        body = b"".join((b"[", b",".join([row.body for row in rows]), b"]"))
        began = time.perf_counter_ns()
        self._connection.insert(self._table_url, body, headers)
        self._stored = self._number
        self._metrics.sent(len(body), events=len(rows), duration=time.perf_counter_ns() - began)

    def _retry(self, work: Callable[[], Result], stop: threading.Event, *, also: Errors = ()) -> Result:
        return until_done(work, stop, self._source, self._metrics, also=also)


def _position_headers(position: Position) -> dict[str, str]:
    headers = {
        "cht-sync-seq": position.sequence,
        "cht-sync-rereading": "true" if position.rereading else "false",
    }
    optional = {
        "cht-sync-pending": position.pending,
        "cht-sync-server-uuid": position.server_uuid,
        "cht-sync-instance-start-time": position.instance_start_time,
    }
    return headers | {name: str(value) for name, value in optional.items() if value is not None}
