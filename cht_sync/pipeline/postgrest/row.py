"""A row as JSON on its way to its table."""

from __future__ import annotations

import msgspec

from cht_sync.errors import DeliveryError
from cht_sync.pipeline.contracts import Rejected, StoredDocument
from cht_sync.pipeline.postgrest.storable import storable


class Row(msgspec.Struct, frozen=True, gc=False):
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


def mended(row: Row) -> Row:
    """The row as jsonb can hold it; the same where nothing is to be replaced, or was already."""
    body, replaced = storable(row.body)
    if not replaced:
        return row
    # Beside the document a row holds copies of its parts, as `_rev`; those do not count.
    if row.received is not None:
        replaced = storable(row.received)[1] or replaced
    return Row(row.document_id, row.revision, body, row.sequence, row.original, replaced)


def tombstone(document: StoredDocument) -> Row:
    """The row of a document that its database does not have; there is no other trace of it."""
    identity = {"_id": document.document_id, "_rev": document.revision, "_deleted": True}
    body = msgspec.json.encode({**identity, "doc": identity, "doc_as_upsert": True, "@version": "1"})
    return Row(document.document_id, document.revision or "", body)


def rejected(row: Row, refusal: DeliveryError) -> Rejected:
    """What becomes a dead letter where the row is refused for good."""
    document = row.original.decode(errors="backslashreplace")
    return Rejected(row.document_id, row.revision, row.sequence, refusal.code, refusal.message, document)
