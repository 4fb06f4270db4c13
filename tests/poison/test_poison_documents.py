"""Documents that PostgreSQL or its index cannot hold, among ordinary ones, through the whole line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from postgres_fixture import PostgresServer, fresh_database
from warehouse.served import Served, served

from poison.engine import await_position, engine, letter_lines
from poison.kinds import KINDS, Kind, Letter, Replaced, exactly
from poison.recorded_feed import RecordedFeed, ordinary, recorded_feed

ORDINARY = 200


@dataclass(frozen=True)
class Delivery:
    """What has been through the line, and where."""

    warehouse: Served
    feed: RecordedFeed
    folder: Path
    """Where the engine keeps its files; it is the working folder too."""

    def run(self) -> None:
        with engine(self.warehouse, self.folder, port=self.feed.port) as running:
            await_position(self.warehouse, self.feed.last_sequence, running)


@pytest.fixture(scope="module")
def delivery(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivery]:
    """All kinds, an ordinary document or more between any two; no test changes what became of them."""
    between = iter(ordinary(ORDINARY))
    folder = tmp_path_factory.mktemp("engine")
    with (
        pytest.MonkeyPatch.context() as patch,
        fresh_database(postgres_server) as name,
        served(postgres_server, name) as warehouse,
        recorded_feed() as feed,
    ):
        patch.chdir(folder)
        feed.documents = {kind.id: kind.fetched for kind in KINDS if kind.fetched is not None}
        for kind in KINDS:
            feed.put(next(between), next(between), kind.change)
        feed.put(*between)
        made = Delivery(warehouse, feed, folder)
        made.run()
        yield made


def stored_as(kind: Kind) -> bytes:
    return kind.outcome.document if isinstance(kind.outcome, Replaced) else kind.document


def state(warehouse: Served) -> list[list[tuple[Any, ...]]]:
    """Everything that the line has left behind, with what shows that a row was written anew."""
    return [
        warehouse.installation.query(statement)
        for statement in (
            "select _id, xmin::text, saved_timestamp, _rev, md5(doc::text) from v1.medic order by _id",
            "select * from v1.replaced_values order by id",
            "select * from v1.dead_letters order by id",
        )
    ]


def test_each_ends_as_a_row_or_with_a_note_or_as_a_dead_letter(delivery: Delivery) -> None:
    query = delivery.warehouse.installation.query
    rows = {row[0]: row[1:] for row in query("select _id, _rev, _deleted, doc::text from v1.medic")}
    assert sum(id.startswith("ordinary-") for id in rows) == ORDINARY

    kept = [kind for kind in KINDS if not isinstance(kind.outcome, Letter)]
    assert {id for id in rows if not id.startswith("ordinary-")} == {kind.id for kind in kept}
    for kind in kept:
        revision, deleted, text = rows[kind.id]
        assert exactly(text) == exactly(stored_as(kind)), kind.name
        assert (revision, deleted) == (exactly(text)["_rev"], kind.change.deleted), kind.name

    notes = {
        id: (places, original.rstrip("\n"))
        for id, places, original in query("select doc_id, replaced, original from v1.replaced_values")
        if id in rows
    }
    assert notes == {
        kind.id: (kind.outcome.places, kind.document.decode(errors="backslashreplace"))
        for kind in kept
        if isinstance(kind.outcome, Replaced)
    }

    letters = query("select doc_id, code, document from v1.dead_letters where closed_at is null")
    refused = [kind for kind in KINDS if isinstance(kind.outcome, Letter)]
    assert {(id, code) for id, code, _ in letters} == {
        (None if kind.outcome.unreadable else shown(kind.id), kind.outcome.code)
        for kind in refused
        if isinstance(kind.outcome, Letter)
    }
    assert len(letters) == len(letter_lines(delivery.folder)) == len(refused)
    received = {id: document for id, _, document in letters}
    for kind in refused:
        if kind.id and kind.document:
            assert received[shown(kind.id)] == kind.document.decode(errors="backslashreplace"), kind.name
    assert '"id":"id\\xff"' in received[None]


def shown(id: str) -> str:
    """An id as a text of PostgreSQL can have it."""
    return id.encode(errors="backslashreplace").decode().replace("\0", "\\u0000")


def test_a_second_pass_changes_nothing(delivery: Delivery) -> None:
    before, lines = state(delivery.warehouse), letter_lines(delivery.folder)
    delivery.warehouse.installation.query("delete from v1.couchdb_progress")
    delivery.run()
    assert state(delivery.warehouse) == before
    assert letter_lines(delivery.folder) == lines
