"""A process that dies between a note, a letter and the data: nothing is missing and nothing is double."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from warehouse.served import PATIENCE, Served

from cht_sync.errors import DestinationUnavailable
from cht_sync.pipeline.postgrest.connection import PostgrestConnection
from poison.engine import await_position, engine, letter_lines
from poison.kinds import LEVELS, kind, nested
from poison.recorded_feed import RecordedFeed, ordinary

KINDS = [
    kind("nul", rb'"t":"\u0000"'),
    kind("number", b'"n":1e140000'),
    kind("deep", b'"d":' + nested(LEVELS)),
    kind("no json", b'"n":NaN'),
]


class Death(Exception):
    """Nothing that follows happens."""


@pytest.mark.parametrize(
    ("table", "times", "when"),
    [
        ("replaced_values", 1, "after"),
        ("replaced_values", 2, "after"),
        ("dead_letters", 2, "before"),
        ("dead_letters", 2, "after"),
        ("medic", 3, "after"),
    ],
)
def test_what_was_under_way_at_the_crash_is_complete_and_there_once(
    warehouse: Served,
    feed: RecordedFeed,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    times: int,
    when: str,
) -> None:
    """It dies at a request to the table: the first for escapes, the second for what was refused."""
    insert = PostgrestConnection.insert
    left = times

    def dying(self: PostgrestConnection, url: str, *rest: Any, **options: Any) -> None:
        nonlocal left
        if left == 0:
            raise DestinationUnavailable("the process is dead")
        meant = url.rsplit("/", 1)[1].partition("?")[0] == table
        if not (meant and left == 1 and when == "before"):
            insert(self, url, *rest, **options)
        left -= meant
        if left == 0:
            raise Death

    feed.put(*ordinary(20), *(one.change for one in KINDS), *ordinary(5, "after"))
    with monkeypatch.context() as patched, engine(warehouse, folder, port=feed.port) as running:
        patched.setattr(PostgrestConnection, "insert", dying)
        assert running.ended.wait(PATIENCE)
    assert [type(failure) for failure in running.failures] == [Death]

    with engine(warehouse, folder, port=feed.port) as running:
        await_position(warehouse, feed.last_sequence, running)
    query = warehouse.installation.query
    assert len(warehouse.rows()) == 27
    assert query("select doc_id from v1.replaced_values order by 1") == [("nul",), ("number",)]
    assert query("select doc_id from v1.dead_letters order by 1") == [("deep",), ("no json",)]
    assert sorted(line["document_id"] for line in letter_lines(folder)) == ["deep", "no json"]
