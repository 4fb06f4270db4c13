"""Rows become the events that logstash-input-couchdb_changes makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from logstash_cases import typed

from cht_sync.pipeline.couchdb.events import EventMaker, EventShape, event_maker
from cht_sync.pipeline.couchdb.rows import (
    NO_DOCUMENT,
    ROW_START,
    Row,
    continuous_end,
    decode_row,
    split_lines,
)

CASES = Path(__file__).resolve().parents[3] / "shared" / "logstash" / "couchdb_changes.json"

KEPT_DIFFERENCES = {
    "document without _id": "the row says which document it is; without an _id nothing could be stored",
    "bad JSON line: run raises; the lines before it were delivered": (
        "the original stops at the line for ever; here it is a dead letter and what follows is delivered"
    ),
}
"""Cases in which we do otherwise on purpose, with the reason; also told in docs/compatibility.md."""


def event_cases() -> list[Any]:
    if not CASES.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason="the recorded Logstash cases are not here"))]
    return [
        pytest.param(case, id=case["name"])
        for case in json.loads(CASES.read_text(encoding="utf-8"))["cases"]
        if case.get("feed_lines") and "expected_error" not in case
    ]


def maker(**options: Any) -> EventMaker:
    shape = EventShape(
        options.get("db", "db"),
        options.get("keep_id", False),
        options.get("keep_revision", False),
        options.get("keep_tombstone", False),
    )
    return event_maker(shape, lambda _event: None)


def made(row: Row, make: EventMaker) -> dict[str, Any]:
    event = make(row, bytes(row.doc))
    members: dict[str, Any] = json.loads(event.to_json())
    del members["@timestamp"], members["@version"]
    return {**members, "@metadata": event.metadata}


@pytest.mark.parametrize("case", event_cases())
def test_a_recorded_feed_gives_the_recorded_events(case: dict[str, Any]) -> None:
    make = maker(**case["options"])
    parts = [chunk.encode() for chunk in case.get("feed_chunks", [case["feed_lines"]])]
    events: list[dict[str, Any]] = []
    bad: list[bytes] = []
    for line in [line for group in split_lines(parts) for line in group if line]:
        if continuous_end(line) is not None:
            continue
        try:
            row = decode_row(line)
        except ValueError:
            bad.append(line)
            continue
        if bytes(row.doc) not in NO_DOCUMENT:  # such a document is fetched, see test_couchdb_reader
            events.append(made(row, make))
    expected = case["expected_events"]
    if case["name"] in KEPT_DIFFERENCES:
        assert [typed(event) for event in events] != [typed(event) for event in expected]
        return
    assert [typed(event) for event in events[: len(expected)]] == [typed(event) for event in expected]
    # Beyond that only what came after a line that is no row: the reader reads the feed anew there.
    assert len(events) == len(expected) or not bad[0].startswith(ROW_START)


def test_every_kept_difference_names_a_case() -> None:
    names = [case.id for case in event_cases()]
    if names != [None]:
        assert set(KEPT_DIFFERENCES) <= set(names)


def row(document: dict[str, Any], **members: Any) -> Row:
    text = {"seq": "5-x", "id": document.get("_id"), "changes": [{"rev": "1-a"}], **members, "doc": document}
    return decode_row(json.dumps(text).encode())


def test_a_tombstone_that_is_kept_has_its_document() -> None:
    document = {"_id": "a", "_rev": "2-a", "_deleted": True, "reason": "moved"}
    event = made(row(document, deleted=True), maker(keep_id=True, keep_revision=True, keep_tombstone=True))
    assert event["doc"] == document
    assert event["@metadata"] == {"_id": "a", "action": "delete", "seq": "5-x"}


def test_users_lose_what_their_document_holds_of_a_password() -> None:
    secret = {
        "password": "x",
        "password_scheme": "pbkdf2",
        "password_sha": "x",
        "derived_key": "x",
        "salt": "x",
        "iterations": 10,
        "pbkdf2_prf": "sha256",
    }
    document = {"_id": "org.couchdb.user:ada", "_rev": "1-a", "name": "ada", "roles": [], **secret}
    event = made(row(document), maker(db="_users", keep_id=True, keep_revision=True))
    assert event["doc"] == {"_id": "org.couchdb.user:ada", "_rev": "1-a", "name": "ada", "roles": []}


@pytest.mark.parametrize("document", [b"[]", b'"x"', b"{", b'{"_id":5}'])
def test_what_is_no_document_makes_no_event(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        maker()(row({"_id": "a"}), document)
