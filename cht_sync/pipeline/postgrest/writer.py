"""The one writer of a source: it takes an epoch, and its every request carries the position.

Source, sequence, pending count, epoch and batch number travel as request headers of the data; the
table's trigger writes them in the same transaction and refuses an older (epoch, batch number). Each
request, also a repeated one, has a new number: one that its client gave up but that still waits in the
server is older than its successor, so it cannot write any more. Each also names the last request that is
known to be stored: a database that was put back to an earlier state refuses it, and the writer begins
again from the position there. See postgres/init-db-resources.sh.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import msgspec

from cht_sync import backoff
from cht_sync.errors import (
    DeliveryError,
    DestinationMisconfigured,
    DestinationUnavailable,
    DocumentRefused,
    StatementTimeout,
    Superseded,
)
from cht_sync.pipeline.contracts import Position, Rejected
from cht_sync.pipeline.postgrest.connection import PostgrestConnection
from cht_sync.pipeline.postgrest.letters import DEAD_LETTERS, dead_letter

log = logging.getLogger(__name__)

PROGRESS = "couchdb_progress"
LONGEST_WAIT = 30.0
"""Seconds between two tries."""

Result = TypeVar("Result")


class Row(msgspec.Struct, frozen=True):
    """A row as JSON, and what is said of it should it be refused."""

    document_id: str
    revision: str
    body: bytes
    sequence: str | None = None


class Writer:
    """Writes rows of one source into one table, with the position."""

    def __init__(self, connection: PostgrestConnection, base_url: str, table_url: str) -> None:
        self._connection = connection
        self._base_url = base_url
        self._table_url = table_url
        self._source = ""
        self._epoch = 0
        self._number = 0
        self._stored = 0
        """The number of the last request of this epoch that is known to be stored."""
        self._last_sign = (0, 0, 0.0)

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

    def write(self, rows: Sequence[Row], position: Position | None, stop: threading.Event) -> bool:
        """Store all rows and the position; a row that is refused for good becomes a dead letter.

        False when `stop` was set before all was safe. Raises Superseded.
        """
        parts = [rows]
        while parts:
            part = parts.pop()
            # The position moves only with the last part.
            refusal = self._store(part, None if parts else position, stop)
            if refusal is None:
                continue
            if len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
                continue
            if not self.reject([_rejected(part[0], refusal)], stop):
                return False
            if not parts:
                parts.append([])
        return not stop.is_set()

    def reject(self, rejected: Sequence[Rejected], stop: threading.Event) -> bool:
        """Store dead letters; one that is there already stays as it is. False when stopped."""
        if not rejected:
            return True
        for letter in rejected:
            log.error(
                "%s: document %s cannot be stored and is now a dead letter: %s",
                self._source,
                letter.document_id or "(unreadable)",
                letter.reason,
            )
            self._post_letter(letter, stop)
        return not stop.is_set()

    def release(self) -> None:
        """Say that nothing more comes, so that another may write at once; tried only once."""
        if self._epoch == 0:
            return
        try:
            self._send([], None, release=True)
        except DeliveryError as error:
            log.debug("%s: not released: %s", self._source, error)

    def _post_letter(self, letter: Rejected, stop: threading.Event) -> None:
        url = f"{self._base_url}/{DEAD_LETTERS}?on_conflict=fingerprint"

        def post(shown: Rejected) -> None:
            body = msgspec.json.encode([dead_letter(self._source, shown)])
            self._connection.insert(url, body, {}, resolution="ignore-duplicates")

        try:
            self._retry(lambda: post(letter), stop, never=(DocumentRefused,))
        except DocumentRefused as refusal:
            # What is too large for a row is too large for a letter too; CouchDB still has it.
            reason = f"{letter.reason} (kept without the document: {refusal})"
            self._retry(lambda: post(replace(letter, reason=reason, document=None)), stop)

    def _store(
        self, rows: Sequence[Row], position: Position | None, stop: threading.Event
    ) -> DeliveryError | None:
        """Store the rows in one request, however often it must be sent; return why they are refused."""
        splittable: tuple[type[DeliveryError], ...] = ()
        if rows:
            splittable = (DocumentRefused,) if len(rows) == 1 else (DocumentRefused, StatementTimeout)
        try:
            self._retry(lambda: self._send(rows, position), stop, never=splittable)
        except splittable as refusal:
            return refusal
        return None

    def _take_epoch(self) -> None:
        rows = self._connection.select(PROGRESS, ["epoch"], source=self._source)
        # Also above our own: a restored backup may hold an older one.
        self._epoch = max([self._epoch, *(int(row["epoch"]) for row in rows)]) + 1
        self._number = self._stored = 0
        self._send([], None)

    def _saved_position(self) -> Position | None:
        rows = self._connection.select(PROGRESS, ["seq", "pending"], source=self._source)
        sequence = rows[0]["seq"] if rows else None
        return Position(self._source, sequence, rows[0]["pending"]) if sequence else None

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
        if position is not None:
            headers["cht-sync-seq"] = position.sequence
            if position.pending is not None:
                headers["cht-sync-pending"] = str(position.pending)
        if self._stored:
            headers["cht-sync-after"] = str(self._stored)
        if release:
            headers["cht-sync-release"] = "true"
        body = b"[" + b",".join(row.body for row in rows) + b"]"
        self._connection.insert(self._table_url, body, headers)
        self._stored = self._number

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
                return work()
            except never:
                raise
            except retried as error:
                seconds = next(delays)
                loudness = logging.WARNING if isinstance(error, DestinationUnavailable) else logging.ERROR
                hint = f" {error.hint}" if error.hint else ""
                log.log(loudness, "%s: %s; next try in %.1f s.%s", self._source, error, seconds, hint)
                stop.wait(seconds)
        return None


def _rejected(row: Row, refusal: DeliveryError) -> Rejected:
    return Rejected(
        row.document_id,
        row.revision,
        row.sequence,
        refusal.code,
        refusal.message,
        row.body.decode(errors="replace"),
    )
