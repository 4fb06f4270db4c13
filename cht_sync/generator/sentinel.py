"""What Sentinel keeps of each document of the CHT: when it came, and what was done with it."""

from __future__ import annotations

from cht_sync.generator.origin import Document, Origin

UNKNOWN_EVERY = 50
"""Of so many documents Sentinel missed the arrival of one."""
ARRIVES_WITHIN = 3 * 86_400_000
"""Milliseconds; a device may be without a network for days."""


def info_document(origin: Origin, index: int, of: Document) -> Document:
    """Return the document of type info about `of`, the document of an index."""
    source = origin.random("info", index)
    arrived: int | str = of.get("reported_date", origin.moment(0)) + source.randrange(ARRIVES_WITHIN)
    transition = "accept_patient_reports" if of["type"] == "data_record" else "update_clinics"
    return {
        "_id": f"{of['_id']}-info",
        "type": "info",
        "doc_id": of["_id"],
        "initial_replication_date": "unknown" if index % UNKNOWN_EVERY == UNKNOWN_EVERY - 1 else arrived,
        "latest_replication_date": arrived,
        "transitions": {transition: {"last_rev": 1, "seq": f"{index + 1}-g1AAAA", "ok": True}},
    }
