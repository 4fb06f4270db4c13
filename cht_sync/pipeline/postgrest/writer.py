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

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from cht_sync import backoff
from cht_sync.errors import (
    DeliveryError,
    DestinationMisconfigured,
    DestinationUnavailable,
    DocumentRefused,
    InternalFailure,
    StatementTimeout,
    Superseded,
)
from cht_sync.pipeline.contracts import Position, Rejected, StoredDocument
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.postgrest.connection import PostgrestConnection
from cht_sync.pipeline.postgrest.letters import (
    DEAD_LETTERS,
    REPLACED_VALUES,
    dead_letter,
    fingerprint,
    replaced_value,
)
from cht_sync.pipeline.postgrest.storable import REFUSALS, storable

log = logging.getLogger(__name__)

PROGRESS = "couchdb_progress"
POSITION_COLUMNS = ("seq", "pending", "server_uuid", "instance_start_time", "rereading")
EPOCHS = 1_000_000
"""Of so many one is taken by chance: above the greatest, far below the 18 digits that the trigger takes."""
PAGE = 1000
"""Documents that are listed at once."""
LONGEST_WAIT = 30.0
"""Seconds between two tries."""
PARTS = 10
"""Into so many a refused batch is split: one bad document of a thousand is found by thirty requests, a
thousand bad ones by eleven hundred."""
LARGE = 16 << 20
"""Bytes of a row from which on PostgreSQL's failure inside (XX000) is blamed on it: seventeen million numbers
make it ask for more memory than it allows itself. Of a smaller row it says that something is broken."""
LETTERS_AT_ONCE = 8 << 20
"""Characters of documents after which dead letters are stored before the batch has ended."""
NAMED_AT_ONCE = 10
"""Documents that the log names when many are refused, or stored with replacements, at once."""

Result = TypeVar("Result")


class Row(msgspec.Struct, frozen=True):
    """A row as JSON, and what is said of it should it be refused.

    `received` is the document as it came, where `body` is more than that; `replaced` says in how many
    places of it `body` has U+FFFD instead of what jsonb cannot hold.
    """

    document_id: str
    revision: str
    body: bytes
    sequence: str | None = None
    received: bytes | None = None
    replaced: int = 0

    @property
    def original(self) -> bytes:
        """The document as received."""
        return self.body if self.received is None else self.received


class Writer:
    """Writes rows of one source into one table, with the position."""

    def __init__(
        self,
        connection: PostgrestConnection,
        base_url: str,
        table_url: str,
        dead_letters: DeadLetterFile | None = None,
        metrics: OutputMetrics | None = None,
    ) -> None:
        """Dead letters go to the table, and where there is a file, to that too."""
        self._connection = connection
        self._metrics = metrics or OutputMetrics("output", "http", "", shown=False)
        self._dead_letters = dead_letters
        self._base_url = base_url
        self._table_url = table_url
        self._source = ""
        self._epoch = 0
        self._number = 0
        self._stored = 0
        """The number of the last request of this epoch that is known to be stored."""
        self._last_sign = (0, 0, 0.0)
        self._problem: str | None = None

    def claim(self, source: str, stop: threading.Event) -> Position | None:
        """Take the next epoch of `source`, then return its position; see contracts.PositionKeeper."""
        self._source = source
        # After the epoch is taken nobody else moves the position, so it is read second.
        self._retry(self._take_epoch, stop, also=(Superseded,))
        return self._retry(self._saved_position, stop)

    def is_released(self, stop: threading.Event) -> bool:
        """Whether the writer that holds the source has ended or shows no sign of life.

        Asked again and again. No clock of another machine is believed: a sign of life is a batch
        number that has changed since the last look.
        """
        return bool(self._retry(self._looks_released, stop))

    def report(self, problem: str, stop: threading.Event) -> None:
        """Say with the position why nothing is read, until something is; see contracts.PositionKeeper."""
        self._problem = problem
        self._retry(lambda: self._send([], None), stop)

    def stored_after(self, document_id: str, stop: threading.Event) -> Sequence[StoredDocument]:
        """Return the next documents in the order of their ids, deleted ones left out."""
        table_url = self._table_url.partition("?")[0]
        rows = self._retry(
            lambda: self._connection.page(table_url, ["_id", "_rev"], after=document_id, limit=PAGE), stop
        )
        return [StoredDocument(row["_id"], row["_rev"]) for row in rows or ()]

    def write(self, rows: Sequence[Row], position: Position | None, stop: threading.Event) -> bool:
        """Store all rows and the position; a row that is refused for good becomes a dead letter.

        False when `stop` was set before all was safe. Raises Superseded.
        """
        self._note(rows, stop)
        letters: list[Rejected] = []
        parts = [rows]
        while parts and not stop.is_set():
            part = parts.pop()
            if not parts or sum(len(letter.document or "") for letter in letters) > LETTERS_AT_ONCE:
                self.reject(letters, stop)
                letters = []
            # The position moves only with the last part, when all else is safe.
            refusal = self._store(part, None if parts else position, stop)
            if refusal is None:
                continue
            better = [mended(row) for row in part] if refusal.code in REFUSALS else part
            if better != part:
                self._note([row for row, before in zip(better, part, strict=True) if row != before], stop)
                parts.append(better)
            elif len(part) > 1:
                size = max(1, len(part) // (PARTS if isinstance(refusal, DocumentRefused) else 2))
                parts += [part[at : at + size] for at in range(0, len(part), size)][::-1]
            else:
                letters.append(_rejected(part[0], refusal))
                parts = parts or [[]]
        return not stop.is_set()

    def reject(self, rejected: Sequence[Rejected], stop: threading.Event) -> bool:
        """Store dead letters; one that is there already stays as it is. False when stopped."""
        if not rejected:
            return not stop.is_set()
        # Without the reason, which may quote the document.
        self._say_each(
            [
                f"document {_named(letter.document_id)} cannot be stored ({letter.code}) and is now a dead "
                "letter; see: cht-sync dead-letters list"
                for letter in rejected
            ],
            logging.ERROR,
        )
        letters = {fingerprint(self._source, letter): letter for letter in rejected}
        if self._dead_letters is not None:
            try:
                self._dead_letters.append_copies(letters)
            except OSError as error:
                log.error("%s: dead letters are kept in the database only: %s", self._source, error)
        rows = [dead_letter(self._source, letter) for letter in letters.values()]
        if not self._store_beside(DEAD_LETTERS, rows, _without_document, stop):
            return False
        self._metrics.buried(len(rows))
        return True

    def release(self) -> None:
        """Say that nothing more comes, so that another may write at once; tried only once."""
        if self._epoch == 0:
            return
        try:
            self._send([], None, release=True)
        except DeliveryError as error:
            log.debug("%s: not released: %s", self._source, error)

    def _note(self, rows: Sequence[Row], stop: threading.Event) -> bool:
        """Store what was received instead of what is in rows with replacements; False when stopped."""
        replaced = [row for row in rows if row.replaced]
        self._say_each(
            [
                f"document {_named(row.document_id)} is stored with {row.replaced} times U+FFFD for what "
                f"PostgreSQL cannot hold; {REPLACED_VALUES} has the original"
                for row in replaced
            ],
            logging.WARNING,
        )
        notes = [
            replaced_value(
                self._source, row.document_id, row.revision, row.sequence, row.replaced, row.original
            )
            for row in replaced
        ]
        if not self._store_beside(REPLACED_VALUES, notes, _without_original, stop):
            return False
        self._metrics.replaced(len(notes))
        return True

    def _store_beside(
        self,
        table: str,
        rows: Sequence[Mapping[str, Any]],
        shortened: Callable[[Mapping[str, Any], DeliveryError], Mapping[str, Any]],
        stop: threading.Event,
    ) -> bool:
        """Store rows that have a fingerprint; one that is refused is stored shortened. False when stopped."""

        def post(part: Sequence[Mapping[str, Any]]) -> None:
            # With columns PostgREST does not parse the body, in which a document may be large.
            url = f"{self._base_url}/{table}?on_conflict=fingerprint&columns={','.join(part[0])}"
            self._connection.insert(url, msgspec.json.encode(part), {}, resolution="ignore-duplicates")

        parts = [rows] if rows else []
        while parts and not stop.is_set():
            part = parts.pop()
            splittable = (DocumentRefused,) if len(part) == 1 else (DocumentRefused, StatementTimeout)
            try:
                self._retry(partial(post, part), stop, never=splittable)
            except splittable as refusal:
                half = len(part) // 2
                if half:
                    parts += [part[half:], part[:half]]
                else:
                    self._retry(partial(post, [shortened(part[0], refusal)]), stop)
        return not stop.is_set()

    def _say_each(self, texts: Sequence[str], level: int) -> None:
        for text in texts[:NAMED_AT_ONCE]:
            log.log(level, "%s: %s", self._source, text)
        if len(texts) > NAMED_AT_ONCE:
            log.log(level, "%s: and so for %d more documents", self._source, len(texts) - NAMED_AT_ONCE)

    def _store(
        self, rows: Sequence[Row], position: Position | None, stop: threading.Event
    ) -> DeliveryError | None:
        """Store the rows in one request, however often it must be sent; return why they are refused."""
        splittable: tuple[type[DeliveryError], ...] = ()
        if len(rows) > 1:
            splittable = (DocumentRefused, StatementTimeout, InternalFailure)
        elif rows:
            splittable = (
                (DocumentRefused, InternalFailure) if len(rows[0].body) >= LARGE else (DocumentRefused,)
            )
        try:
            self._retry(lambda: self._send(rows, position), stop, never=splittable)
        except splittable as refusal:
            return refusal
        return None

    def _take_epoch(self) -> None:
        rows = self._connection.select(PROGRESS, ["epoch"], source=self._source)
        # Also above our own: a restored backup may hold an older one. By chance, since after a restore the
        # next number may be that of a writer which still lives and was not there when the backup was made:
        # two with one epoch could both pass the trigger's checks.
        known = max([self._epoch, *(int(row["epoch"]) for row in rows)])
        self._epoch = known + 1 + secrets.randbelow(EPOCHS)
        self._number = self._stored = 0
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
        return now - self._last_sign[2] >= hold.total_seconds()

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
        self._connection.insert(self._table_url, body, headers)
        self._stored = self._number
        self._metrics.sent(len(body))

    def _retry(
        self,
        work: Callable[[], Result],
        stop: threading.Event,
        *,
        never: tuple[type[DeliveryError], ...] = (),
        also: tuple[type[DeliveryError], ...] = (),
    ) -> Result | None:
        """Do `work` until it succeeds; None when `stop` is set first.

        Errors of the classes `never` are raised; those of `also` are retried beside the usual ones.
        """
        delays = backoff.delays(first=0.05, most=LONGEST_WAIT)
        retried: tuple[type[DeliveryError], ...] = (
            *(DestinationUnavailable, DestinationMisconfigured, DocumentRefused),
            *also,
        )
        while not stop.is_set():
            try:
                done = work()
            except never:
                raise
            except retried as error:
                seconds = next(delays)
                loudness = logging.WARNING if isinstance(error, DestinationUnavailable) else logging.ERROR
                hint = f" {error.hint}" if error.hint else ""
                log.log(loudness, "%s: %s; next try in %.1f s.%s", self._source, error, seconds, hint)
                # What a refusal says may quote the document.
                said = error.code if isinstance(error, DocumentRefused) else f"{error}.{hint}"
                self._metrics.failed(said, serious=loudness == logging.ERROR)
                stop.wait(seconds)
            else:
                self._metrics.answered()
                return done
        return None


def tombstone(document: StoredDocument) -> Row:
    """The row of a document that its database does not have; there is no other trace of it."""
    identity = {"_id": document.document_id, "_rev": document.revision, "_deleted": True}
    body = msgspec.json.encode({**identity, "doc": identity, "doc_as_upsert": True, "@version": "1"})
    return Row(document.document_id, document.revision or "", body)


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


def mended(row: Row) -> Row:
    """The row as jsonb can hold it; the same where nothing is to be replaced, or was already."""
    body, replaced = storable(row.body)
    if not replaced:
        return row
    # Beside the document a row holds copies of its parts, as `_rev`; those do not count.
    if row.received is not None:
        replaced = storable(row.received)[1] or replaced
    return Row(row.document_id, row.revision, body, row.sequence, row.original, replaced)


def _rejected(row: Row, refusal: DeliveryError) -> Rejected:
    document = row.original.decode(errors="backslashreplace")
    return Rejected(row.document_id, row.revision, row.sequence, refusal.code, refusal.message, document)


def _named(document_id: str | None) -> str:
    if document_id is None:
        return "(unreadable)"
    return repr(document_id) if len(document_id) <= 200 else f"{document_id[:200]!r}..."


def _without_document(letter: Mapping[str, Any], refusal: DeliveryError) -> Mapping[str, Any]:
    # What is too large for a row is too large for a letter too; CouchDB still has it.
    reason = f"{letter['reason']} (kept without the document: {refusal})"
    return {**letter, "reason": reason, "document": None}


def _without_original(note: Mapping[str, Any], refusal: DeliveryError) -> Mapping[str, Any]:
    return {**note, "original": f"(too large to be kept here, CouchDB has it: {refusal})"}
