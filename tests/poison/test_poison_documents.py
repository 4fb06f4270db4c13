"""Documents that PostgreSQL or its index cannot hold, among ordinary ones, through the whole line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from warehouse.served import Served, served

from poison.engine import await_position, engine
from poison.kinds import KINDS, Kind, Letter, Replaced
from poison.recorded_feed import RecordedFeed, ordinary, recorded_feed

ORDINARY = 200


@pytest.fixture
def warehouse(postgres_server: Any, database: str) -> Iterator[Served]:
    with served(postgres_server, database) as one:
        yield one


@pytest.fixture
def feed() -> Iterator[RecordedFeed]:
    with recorded_feed() as server:
        yield server


def mixed(kinds: list[Kind], feed: RecordedFeed) -> None:
    """Put all of them, an ordinary one or more between any two."""
    between = iter(ordinary(ORDINARY))
    feed.documents = {kind.id: kind.fetched for kind in kinds if kind.fetched is not None}
    for kind in kinds:
        feed.put(next(between), next(between), kind.change)
    feed.put(*between)


def exactly(text: str | bytes) -> Any:
    """The value of a JSON text with every digit of its numbers."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


@pytest.fixture(autouse=True)
def thousands_of_levels() -> Iterator[None]:
    """Python's own reader of JSON must follow what is compared."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    yield
    sys.setrecursionlimit(before)


def state(warehouse: Served) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that the line has left behind, with what shows that a row was written anew."""
    query = warehouse.installation.query
    return {
        "rows": query(
            "select _id, xmin::text, saved_timestamp, _rev, _deleted, md5(doc::text) from v1.medic order by 1"
        ),
        "notes": query("select * from v1.replaced_values order by id"),
        "letters": query("select * from v1.dead_letters order by id"),
    }


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "dead_letter_queue" / "medic.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def delivered(warehouse: Served, feed: RecordedFeed, tmp_path: Path) -> Served:
    mixed(KINDS, feed)
    with engine(warehouse, tmp_path, port=feed.port) as running:
        await_position(warehouse, feed.last_sequence, running)
    return warehouse


def test_each_ends_as_a_row_or_with_a_note_or_as_a_dead_letter_and_a_second_pass_changes_nothing(
    delivered: Served, feed: RecordedFeed, tmp_path: Path
) -> None:
    query = delivered.installation.query
    rows = {
        id: (rev, deleted, doc)
        for id, rev, deleted, doc in query("select _id, _rev, _deleted, doc::text from v1.medic")
    }
    notes = {
        id: (places, original)
        for id, places, original in query("select doc_id, replaced, original from v1.replaced_values")
    }
    letters = {
        (id, code): document
        for id, code, document in query("select doc_id, code, document from v1.dead_letters")
    }
    expected_rows, expected_notes, expected_letters = set(), set(), set()
    for kind in KINDS:
        if isinstance(kind.outcome, Letter):
            shown = kind.id.encode(errors="backslashreplace").decode().replace("\0", "\\u0000")
            expected_letters.add((None if kind.outcome.unreadable else shown, kind.outcome.code))
            expected_notes |= {kind.id} if kind.outcome.noted else set()
            continue
        expected_rows.add(kind.id)
        stored = kind.document
        if isinstance(kind.outcome, Replaced):
            stored = kind.outcome.document
            expected_notes.add(kind.id)
            places, original = notes[kind.id]
            assert (kind.name, places) == (kind.name, kind.outcome.places)
            assert original.rstrip("\n") == kind.document.decode(errors="backslashreplace"), kind.name
        revision, deleted, text = rows[kind.id]
        assert exactly(text) == exactly(stored), kind.name
        assert (deleted, revision) == (
            kind.change.deleted,
            exactly(stored)["_rev"],
        )
    assert {id for id in rows if not id.startswith("ordinary-")} == expected_rows
    assert sum(id.startswith("ordinary-") for id in rows) == ORDINARY
    assert set(notes) == expected_notes
    assert set(letters) == expected_letters
    assert len(lines(tmp_path)) == len(expected_letters)

    before = state(delivered)
    query("delete from v1.couchdb_progress")
    with engine(delivered, tmp_path, port=feed.port) as running:
        await_position(delivered, feed.last_sequence, running)
    assert state(delivered) == before
    assert len(lines(tmp_path)) == len(expected_letters)
