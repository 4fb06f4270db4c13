"""Which of some documents a database has never had.

Source: CouchDB's documentation, "POST /{db}/_all_docs", and recorded answers: a row for each key that was
asked for, `{"key", "error": "not_found"}` for one that is not there; a deleted one is there, as deleted.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from cht_sync.errors import SourceUnavailable
from cht_sync.pipeline.couchdb.client import CouchdbClient

NOT_FOUND = "not_found"


class _Row(msgspec.Struct):
    key: str
    error: str | None = None


class _AllDocs(msgspec.Struct):
    rows: list[_Row]


def missing_documents(client: CouchdbClient, document_ids: Sequence[str], stop: threading.Event) -> set[str]:
    """Return those that are not found. Raises SourceError, also where not every key has its row."""
    body = msgspec.json.encode({"keys": document_ids})
    answer = client.ask("_all_docs", {}, stop, body=body)
    try:
        rows = msgspec.json.decode(answer, type=_AllDocs).rows
    except msgspec.DecodeError as error:
        raise SourceUnavailable("the answer of _all_docs is not CouchDB's") from error
    if {row.key for row in rows} != set(document_ids):
        raise SourceUnavailable("_all_docs does not answer for every document")
    return {row.key for row in rows if row.error == NOT_FOUND}
