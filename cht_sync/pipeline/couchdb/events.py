"""Rows of the feed turned into Logstash events.

Source: logstash-input-couchdb_changes 3.1.6. An update has `doc` (without `_id` and `_rev` unless they
are kept) and `doc_as_upsert`; a deletion is empty but for `@metadata`, unless tombstones are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from cht_sync.pipeline.couchdb.rows import Head, Row, decode_head
from cht_sync.pipeline.document import ABSENT, RawDocument
from cht_sync.pipeline.event import Event

PASSWORD_MEMBERS = frozenset(
    {"password_scheme", "derived_key", "salt", "iterations", "pbkdf2_prf", "password", "password_sha"}
)
"""What a document of `_users` holds of a password (CouchDB's documentation, "Users Documents")."""
USERS_DATABASE = "_users"

EventMaker = Callable[[Row, bytes], Event]
"""Takes a row and its document as bytes. Raises ValueError when that is no JSON object."""


@dataclass(frozen=True)
class EventShape:
    """What of a change an event keeps."""

    database: str
    keep_id: bool
    keep_revision: bool
    keep_tombstone: bool


def event_maker(shape: EventShape, decorate: Callable[[Event], None]) -> EventMaker:
    """Return the function that makes events of this shape; `decorate` adds what the options ask for."""
    leaves_out = frozenset(
        name for name, kept in (("_id", shape.keep_id), ("_rev", shape.keep_revision)) if not kept
    )
    if shape.database == USERS_DATABASE:
        leaves_out |= PASSWORD_MEMBERS

    def make(row: Row, document: bytes) -> Event:
        head = decode_head(row, document)
        deleted = head.deleted not in (None, False)
        metadata = {"_id": row.id, "action": "delete" if deleted else "update", "seq": _sequence(row)}
        fields: dict[str, Any] = {}
        if not deleted or shape.keep_tombstone:
            fields["doc"] = _document(head, document, leaves_out)
            fields["doc_as_upsert"] = True
        event = Event(fields, metadata)
        decorate(event)
        return event

    return make


def bare_event_maker(decorate: Callable[[Event], None]) -> EventMaker:
    """Return the function that makes events of changes read without their documents: metadata only."""

    def make(row: Row, _document: bytes) -> Event:
        metadata = {
            "_id": row.id,
            "_rev": row.changes[0].rev if row.changes else None,
            "action": "delete" if row.deleted else "update",
            "seq": _sequence(row),
        }
        event = Event({}, metadata)
        decorate(event)
        return event

    return make


def _document(head: Head, document: bytes, leaves_out: frozenset[str]) -> Any:
    known: dict[str, Any] = {
        "_id": head.id,
        "_rev": head.rev,
        "_deleted": ABSENT if head.deleted is None else head.deleted,
    }
    raw = RawDocument(document, known)
    if not leaves_out:
        return raw
    return {name: value for name, value in raw.decode().items() if name not in leaves_out}


def _sequence(row: Row) -> Any:
    """The sequence as JSON has it: Logstash keeps numbers as numbers."""
    return msgspec.json.decode(row.seq)
