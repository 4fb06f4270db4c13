"""Dead letters as rows of the table `dead_letters`, notes of replaced values as rows of `replaced_values`."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.postgrest.storable import as_utf8

DEAD_LETTERS = "dead_letters"
REPLACED_VALUES = "replaced_values"

_CONTROLS = re.compile(rb"[\x00-\x1f]")


def dead_letter(source: str, rejected: Rejected) -> dict[str, Any]:
    """Return the row of a change that cannot be stored."""
    return {
        "fingerprint": fingerprint(source, rejected),
        "source": source,
        "database": source.partition("/")[2],
        "doc_id": _shown(rejected.document_id),
        "rev": _shown(rejected.revision),
        "seq": _shown(rejected.sequence),
        "code": rejected.code,
        "reason": _shown(rejected.reason),
        "document": _shown(rejected.document),
    }


def replaced_value(
    source: str, document_id: str, revision: str, sequence: str | None, replaced: int, original: bytes
) -> dict[str, Any]:
    """Return the row of a document that is stored with U+FFFD in so many places.

    `original` is the document as received. Bytes of it that are no UTF-8 are shown as `\\xff`, which no
    JSON text holds otherwise, so that they can be told.
    """
    return {
        "fingerprint": fingerprint(source, Rejected(document_id, revision, sequence, "", "")),
        "source": source,
        "database": source.partition("/")[2],
        "doc_id": document_id,
        "rev": _shown(revision),
        "seq": _shown(sequence),
        "replaced": replaced,
        "original": msgspec.Raw(_as_json_text(original)),
    }


def fingerprint(source: str, rejected: Rejected) -> str:
    """Return what is the same whenever the same change is refused, or stored with replacements, again.

    Document and revision name a change; what was received may differ from one time to the next by
    what the pipeline added. Only where nothing names the change does its text.
    """
    named = rejected.document_id and rejected.revision
    identity = "\0".join(
        (
            source,
            rejected.document_id or "",
            rejected.revision or "",
            "" if named else rejected.document or "",
        )
    )
    return hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()


def _shown(text: str | None) -> str | None:
    """The text as PostgreSQL can hold it: what it cannot hold is written as its escape."""
    if text is None:
        return None
    if not text.isascii():
        text = text.encode(errors="backslashreplace").decode()
    return text.replace("\0", "\\u0000")


def _as_json_text(document: bytes) -> bytes:
    """JSON text as a text within JSON."""
    text = as_utf8(document, "backslashreplace").replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"' + _CONTROLS.sub(lambda control: b"\\u%04x" % control[0][0], text) + b'"'
