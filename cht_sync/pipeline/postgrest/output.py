"""The output to a PostgREST over cht-sync's schema; it keeps the position.

Delivery: at least once. What an answer means is decided by the code of its error, not by its status.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from cht_sync.pipeline.contracts import Batch, Position, Rejected, StoredDocument
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.postgrest.connection import PostgrestConnection
from cht_sync.pipeline.postgrest.heart import Heart
from cht_sync.pipeline.postgrest.row import Row, mended, tombstone
from cht_sync.pipeline.postgrest.storable import is_storable_text, looks_unstorable
from cht_sync.pipeline.postgrest.writer import Writer


@dataclass(kw_only=True)
class PreparedBatch(Batch):
    """With the rows that its events have become; what can be no row is among the rejected."""

    rows: list[Row]


class PostgrestOutput:
    """Writes to the table at `table_url`, which stands below `base_url` as the tables beside it do."""

    def __init__(
        self,
        connection: PostgrestConnection,
        base_url: str,
        table_url: str,
        dead_letters: DeadLetterFile,
        metrics: OutputMetrics,
        heart: Heart,
    ) -> None:
        self._connection = connection
        self._writer = Writer(connection, base_url, table_url, dead_letters, metrics, heart)

    def claim(self, source: str, stop: threading.Event) -> Position | None:
        """See contracts.PositionKeeper."""
        return self._writer.claim(source, stop)

    def is_released(self, stop: threading.Event) -> bool:
        """See contracts.PositionKeeper."""
        return self._writer.is_released(stop)

    def fall_silent(self) -> None:
        """See contracts.PositionKeeper."""
        self._writer.fall_silent()

    def report(self, problem: str, stop: threading.Event) -> None:
        """See contracts.PositionKeeper."""
        self._writer.report(problem, stop)

    def stored_after(self, document_id: str, stop: threading.Event) -> Sequence[StoredDocument]:
        """See contracts.PositionKeeper."""
        return self._writer.stored_after(document_id, stop)

    def bury(self, documents: Sequence[StoredDocument], stop: threading.Event) -> bool:
        """See contracts.PositionKeeper."""
        return self._writer.write([tombstone(one) for one in documents], None, stop)

    def prepare(self, batch: Batch) -> PreparedBatch:
        """See contracts.PositionKeeper: events become rows."""
        rows: dict[str, Row] = {}
        rejected = list(batch.rejected)
        for event in batch.events:
            row = row_of(event)
            problem = _problem_of_identity(row.document_id)
            if problem is None:
                # The same row twice in one statement would be refused as a whole.
                rows.pop(row.document_id, None)
                rows[row.document_id] = row
            else:
                document = row.original.decode(errors="backslashreplace")
                id = row.document_id or None
                rejected.append(Rejected(id, row.revision, row.sequence, *problem, document))
        return PreparedBatch(batch.events, rejected, batch.position, rows=list(rows.values()))

    def write(self, batch: Batch, stop: threading.Event) -> bool:
        if not isinstance(batch, PreparedBatch):
            batch = self.prepare(batch)
        return self._writer.reject(batch.rejected, stop) and self._writer.write(
            batch.rows, batch.position, stop
        )

    def close(self) -> None:
        self._writer.release()
        self._connection.close()


def row_of(event: Event) -> Row:
    """The row that an event becomes."""
    sequence = event.metadata.get("seq")
    document = event.fields.get("doc")
    row = Row(
        str(event.fields.get("_id") or ""),
        str(event.fields.get("_rev") or ""),
        event.to_json(),
        None if sequence is None else str(sequence),
        document.raw if isinstance(document, RawDocument) else None,
    )
    return mended(row) if looks_unstorable(row.body) else row


def _problem_of_identity(document_id: str) -> tuple[str, str] | None:
    """Why a document with this id can be no row: code and reason. It is never given another id."""
    if not document_id:
        return "no_id", "the change has no _id"
    if not is_storable_text(document_id):
        return "22P05", "its _id holds a character that PostgreSQL cannot store"
    return None
