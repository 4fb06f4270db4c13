"""What an edit changes: a document stays what it is, and is never the same as before."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from cht_sync.generator import names
from cht_sync.generator.origin import MILLISECONDS_PER_DAY, Document
from cht_sync.generator.users import LANGUAGES


def edited(before: Document, source: Random) -> Document:
    """Return a changed copy: a report is verified, a person gets another phone, a place is noted on."""
    edit = EDITS.get(before["type"]) or (_person if "patient_id" in before else _place)
    return before | edit(before, source)


def _report(before: Document, source: Random) -> Document:
    verified_after = source.randrange(1, 10) * MILLISECONDS_PER_DAY
    return {
        "verified": source.random() < 0.8,
        "verified_date": before["reported_date"] + verified_after,
    }


def _person(_before: Document, source: Random) -> Document:
    return {"phone": names.phone(source), "notes": f"Visited {source.randrange(1, 20)} times"}


def _place(_before: Document, source: Random) -> Document:
    return {"notes": f"{source.randrange(3, 400)} people counted"}


def _user_settings(before: Document, source: Random) -> Document:
    others = [language for language in LANGUAGES if language != before["language"]]
    return {"language": source.choice(others)}


def _user(before: Document, source: Random) -> Document:
    return {"roles": [*before["roles"][:1], f"data_entry_{source.randrange(10**6)}"]}


def _info(before: Document, source: Random) -> Document:
    return {"latest_replication_date": before["latest_replication_date"] + source.randrange(1, 10**8)}


def _telemetry(before: Document, source: Random) -> Document:
    return {"dbInfo": {**before["dbInfo"], "doc_count": source.randrange(3000, 10**6)}}


def _feedback(_before: Document, source: Random) -> Document:
    return {"log": [{"level": "info", "arguments": f"tried again {source.randrange(10**6)}"}]}


EDITS: dict[str, Callable[[Document, Random], Document]] = {
    "data_record": _report,
    "user-settings": _user_settings,
    "user": _user,
    "info": _info,
    "telemetry": _telemetry,
    "feedback": _feedback,
}
"""By type; the others are contacts."""
