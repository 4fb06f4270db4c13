"""Dead letters as rows of the table `dead_letters`."""

from __future__ import annotations

import hashlib
from typing import Any

from cht_sync.pipeline.contracts import Rejected

DEAD_LETTERS = "dead_letters"


def dead_letter(source: str, rejected: Rejected) -> dict[str, Any]:
    """Return the row. Its fingerprint is the same whenever the same change is refused again.

    Document and revision name a change; what was received may differ from one time to the next by
    what the pipeline added. Only where nothing names the change does its text.
    """
    database = source.partition("/")[2]
    named = rejected.document_id and rejected.revision
    identity = "\0".join(
        (
            source,
            rejected.document_id or "",
            rejected.revision or "",
            "" if named else rejected.document or "",
        )
    )
    return {
        "fingerprint": hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest(),
        "source": source,
        "database": database,
        "doc_id": _shown(rejected.document_id),
        "rev": _shown(rejected.revision),
        "seq": rejected.sequence,
        "code": rejected.code,
        "reason": _shown(rejected.reason),
        "document": _shown(rejected.document),
    }


def _shown(text: str | None) -> str | None:
    """The text as PostgreSQL can hold it: what it cannot hold is written as its escape."""
    if text is None:
        return None
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\u0000")
