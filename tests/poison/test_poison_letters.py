"""Dead letters through the engine: closed when a later revision is stored, open again when refused again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from warehouse.served import Served

from poison.engine import Engine, await_position, engine, letter_lines
from poison.kinds import LEVELS, document, nested
from poison.recorded_feed import Change, RecordedFeed, ordinary

DEEP = b'"d":' + nested(LEVELS)
NO_JSON = b'"t":"\x01"'
GOOD = b'"n":1'
OPEN, CLOSED = (True, None), (False, "stored")


def revision(name: str, members: bytes) -> Change:
    rev = f'"{name}"'.encode()
    return Change(b'"a"', rev, document("a", members, rev))


def letters(warehouse: Served) -> list[tuple[Any, ...]]:
    return warehouse.installation.query(
        "select rev, closed_at is null, closed_by from v1.dead_letters order by id"
    )


def deliver(feed: RecordedFeed, warehouse: Served, running: Engine, *changes: Change) -> None:
    feed.put(*changes)
    await_position(warehouse, feed.last_sequence, running)


@pytest.mark.parametrize("refused", [DEEP, NO_JSON], ids=["by PostgreSQL", "by the reader"])
def test_a_letter_is_closed_by_the_next_good_revision_and_opened_by_the_same_refusal(
    warehouse: Served, feed: RecordedFeed, folder: Path, refused: bytes
) -> None:
    with engine(warehouse, folder, port=feed.port) as running:
        deliver(feed, warehouse, running, revision("1-a", refused), *ordinary(3))
        assert letters(warehouse) == [("1-a", *OPEN)]
        deliver(feed, warehouse, running, revision("2-a", GOOD))
        assert letters(warehouse) == [("1-a", *CLOSED)]
        # As when the winning revision is deleted and the feed gives the one before it.
        deliver(feed, warehouse, running, revision("1-a", refused))
        assert letters(warehouse) == [("1-a", *OPEN)]
        assert warehouse.rows()["a"] == "2-a"
        deliver(feed, warehouse, running, revision("3-a", refused))
        assert letters(warehouse) == [("1-a", *OPEN), ("3-a", *OPEN)]
        deliver(feed, warehouse, running, revision("4-a", GOOD))
        assert letters(warehouse) == [("1-a", *CLOSED), ("3-a", *CLOSED)]
    assert [line["revision"] for line in letter_lines(folder)] == ["1-a", "3-a"]


def test_a_replay_closes_nothing(warehouse: Served, feed: RecordedFeed, folder: Path) -> None:
    with engine(warehouse, folder, port=feed.port) as running:
        deliver(feed, warehouse, running, revision("1-a", GOOD), *ordinary(3))
        deliver(feed, warehouse, running, revision("2-a", DEEP))
    warehouse.installation.query("delete from v1.couchdb_progress")
    with engine(warehouse, folder, port=feed.port) as running:
        await_position(warehouse, feed.last_sequence, running)
        assert letters(warehouse) == [("2-a", *OPEN)]
        deliver(feed, warehouse, running, *ordinary(3, "others"))
        assert letters(warehouse) == [("2-a", *OPEN)]
    assert warehouse.rows()["a"] == "1-a"
    assert len(letter_lines(folder)) == 1


def test_a_document_that_is_stored_with_replacements_closes_its_letter(
    warehouse: Served, feed: RecordedFeed, folder: Path
) -> None:
    with engine(warehouse, folder, port=feed.port) as running:
        deliver(feed, warehouse, running, revision("1-a", DEEP))
        deliver(feed, warehouse, running, revision("2-a", b'"n":1e140000'))
    assert letters(warehouse) == [("1-a", *CLOSED)]
    assert warehouse.rows() == {"a": "2-a"}
