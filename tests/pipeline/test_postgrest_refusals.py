"""What PostgreSQL refuses is replaced and noted, or a dead letter; with few requests, and nothing is lost."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from warehouse.served import SECRET, ObservedStop, Served, listening

from cht_sync.pipeline.contracts import Position, Rejected
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.postgrest import splitting
from cht_sync.pipeline.postgrest import writer as writer_module
from cht_sync.pipeline.postgrest.connection import PostgrestConnection, Timeouts
from cht_sync.pipeline.postgrest.row import Row, mended
from cht_sync.pipeline.postgrest.writer import Writer
from cht_sync.tokens import TokenSource

SOURCE = "couch/medic"
DEEP = "[" * 20_000 + "]" * 20_000
"""Deeper than PostgreSQL's stack: nothing in it can be replaced."""
AT_THE_END = Position(SOURCE, "9-x", 0)


class Crash(Exception):
    """Plays the death of the process."""


class Watched(PostgrestConnection):
    """Remembers which table each POST went to and how many rows it had; `before` and `after` may raise."""

    def __init__(self, warehouse: Served) -> None:
        super().__init__(warehouse.url, TokenSource(SECRET, warehouse.role), Timeouts(5, 20))
        self.posts: list[tuple[str, int]] = []
        self.before: Callable[[str], None] = lambda _table: None
        self.after: Callable[[str], None] = lambda _table: None

    def insert(self, url: str, body: bytes, headers: Any, *, resolution: str = "merge-duplicates") -> None:
        table = url.rsplit("/", 1)[1].partition("?")[0]
        self.posts.append((table, body.count(b'"doc":' if table == "medic" else b'"fingerprint":')))
        self.before(table)
        super().insert(url, body, headers, resolution=resolution)
        self.after(table)


@pytest.fixture
def connection(warehouse: Served) -> Watched:
    return Watched(warehouse)


@pytest.fixture
def writer(warehouse: Served, connection: Watched, stop: ObservedStop, tmp_path: Path) -> Writer:
    made = Writer(connection, warehouse.url, warehouse.table_url, DeadLetterFile(tmp_path, "medic"))
    made.claim(SOURCE, stop)
    connection.posts.clear()
    return made


def row(id: str, value: str = "1", revision: str = "1-a") -> Row:
    """As the output makes it: escapes are seen at once, other things only when they are refused."""
    document = f'{{"_id":{json.dumps(id)},"_rev":"{revision}","n":{value}}}'
    body = f'{{"_id":{json.dumps(id)},"_rev":"{revision}","doc":{document}}}'
    made = Row(id, revision, body.encode(), f"{id}-seq", document.encode())
    return mended(made) if "\\u" in value else made


def notes(warehouse: Served) -> list[tuple[Any, ...]]:
    return warehouse.installation.query(
        "select doc_id, rev, seq, replaced, original from v1.replaced_values order by id"
    )


def documents(warehouse: Served) -> dict[str, Any]:
    return dict(warehouse.installation.query("select _id, doc -> 'n' from v1.medic"))


def lines(folder: Path) -> list[str]:
    path = folder / "dead_letter_queue" / "medic.jsonl"
    return (
        [json.loads(line)["document_id"] for line in path.read_text().splitlines()] if path.exists() else []
    )


def test_all_notes_of_a_batch_go_in_one_request_before_the_data(
    warehouse: Served, writer: Writer, connection: Watched, stop: ObservedStop
) -> None:
    rows = [row("a", r'"\u0000"'), row("b"), row("c", r'["\ud800","\u0000"]')]
    assert writer.write(rows, AT_THE_END, stop)
    assert connection.posts == [("replaced_values", 2), ("medic", 3)]
    assert documents(warehouse) == {"a": "\ufffd", "b": 1, "c": ["\ufffd", "\ufffd"]}
    assert notes(warehouse) == [
        ("a", "1-a", "a-seq", 1, r'{"_id":"a","_rev":"1-a","n":"\u0000"}'),
        ("c", "1-a", "c-seq", 2, r'{"_id":"c","_rev":"1-a","n":["\ud800","\u0000"]}'),
    ]
    columns = "select source, database, at is not null from v1.replaced_values limit 1"
    assert warehouse.installation.query(columns) == [(SOURCE, "medic", True)]


def test_a_number_beyond_numeric_is_looked_for_only_when_postgresql_refuses(
    warehouse: Served, writer: Writer, connection: Watched, stop: ObservedStop
) -> None:
    rows = [row("a", "1e400"), row("b", "1e140000"), row("c", '"1e140000"'), row("d", "[1e140000,1e-20000]")]
    assert writer.write(rows, AT_THE_END, stop)
    assert connection.posts == [("medic", 4), ("replaced_values", 2), ("medic", 4)]
    assert documents(warehouse) == {"a": 10**400, "b": "\ufffd", "c": "1e140000", "d": ["\ufffd", "\ufffd"]}
    assert [note[0] for note in notes(warehouse)] == ["b", "d"]
    assert warehouse.letters() == []
    connection.posts.clear()
    assert writer.write([row("e", "1e131071")], AT_THE_END, stop)
    assert connection.posts == [("medic", 1)]


def test_a_document_that_is_refused_even_with_replacements_is_a_dead_letter_with_what_was_received(
    warehouse: Served, writer: Writer, stop: ObservedStop
) -> None:
    poison = row("bad", f'[1e140000,"\\u0000",{DEEP}]')
    assert writer.write([row("a"), poison, row("b")], AT_THE_END, stop)
    assert set(documents(warehouse)) == {"a", "b"}
    assert poison.received is not None
    assert warehouse.letters() == [("bad", "1-a", "54001", poison.received.decode())]


REQUESTS = ["medic", "replaced_values", "replaced_values", "medic", "medic", "dead_letters", "medic"]
"""Those that store something: the epoch, notes of escapes, of numbers, two rows, a letter, the position."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("request_number", range(len(REQUESTS)))
def test_a_crash_at_any_request_loses_nothing_and_doubles_nothing(
    warehouse: Served, connection: Watched, stop: ObservedStop, tmp_path: Path, when: str, request_number: int
) -> None:
    rows = [row("a", "1e140000"), row("deep", DEEP), row("b", r'"\u0000"'), row("c")]
    stored: list[str] = []

    def count(table: str) -> None:
        stored.append(table)
        if when == "after" and len(stored) > request_number:
            raise Crash

    def look(table: str) -> None:
        if when == "before" and len(stored) == request_number and table == REQUESTS[request_number]:
            raise Crash

    def run() -> None:
        writer = Writer(connection, warehouse.url, warehouse.table_url, DeadLetterFile(tmp_path, "medic"))
        writer.claim(SOURCE, stop)
        assert writer.write(rows, AT_THE_END, stop)

    connection.before, connection.after = look, count
    with pytest.raises(Crash):
        run()
    assert stored == REQUESTS[: len(stored)]
    connection.before = connection.after = lambda _table: None
    for _ in range(2):
        run()
    assert documents(warehouse) == {"a": "\ufffd", "b": "\ufffd", "c": 1}
    assert sorted(note[0] for note in notes(warehouse)) == ["a", "b"]
    assert [(id, code) for id, _, code, _ in warehouse.letters()] == [("deep", "54001")]
    assert lines(tmp_path) == ["deep"]


def test_a_note_that_is_refused_is_kept_without_the_original(
    warehouse: Served, stop: ObservedStop, tmp_path: Path
) -> None:
    """Quotes are escaped in a note, so it can be larger than the row that it belongs to."""
    with listening(warehouse.installation, max_body=4_000) as small:
        writer = Writer(Watched(small), small.url, small.table_url)
        writer.claim(SOURCE, stop)
        quotes = row("a", r'["\u0000","%s"]' % (r"\"" * 1_200))
        assert writer.write([quotes, row("b", r'"\u0000"')], AT_THE_END, stop)
    assert documents(warehouse) == {"a": ["\ufffd", '"' * 1_200], "b": "\ufffd"}
    (of_a, of_b) = notes(warehouse)
    assert of_a[:4] == ("a", "1-a", "a-seq", 1)
    assert "too large" in of_a[4]
    assert of_b[4] == r'{"_id":"b","_rev":"1-a","n":"\u0000"}'


def test_a_thousand_refused_documents_need_little_more_than_a_request_each(
    warehouse: Served, writer: Writer, connection: Watched, stop: ObservedStop, tmp_path: Path
) -> None:
    warehouse.installation.query("alter table v1.medic add constraint none check (doc ->> 'n' <> '2') ")
    assert writer.write([row(f"d{n}", "2") for n in range(1_000)], AT_THE_END, stop)
    # All others must be safe before the last part is tried, which may carry the position.
    assert [count for table, count in connection.posts if table == "dead_letters"] == [900, 90, 9, 1]
    assert len(connection.posts) < 1_130
    assert len(warehouse.letters()) == len(lines(tmp_path)) == 1_000
    assert warehouse.installation.progress()[0] == "9-x"


def test_one_refused_document_of_a_thousand_is_found_with_few_requests(
    warehouse: Served, writer: Writer, connection: Watched, stop: ObservedStop
) -> None:
    rows = [row(f"d{n}", DEEP if n == 777 else "1") for n in range(1_000)]
    assert writer.write(rows, AT_THE_END, stop)
    assert len(connection.posts) < 40
    assert len(documents(warehouse)) == 999


def test_letters_with_large_documents_do_not_gather_until_the_batch_ends(
    warehouse: Served,
    writer: Writer,
    connection: Watched,
    stop: ObservedStop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer_module, "LETTERS_AT_ONCE", 100_000)
    assert writer.write([row(f"d{n}", DEEP) for n in range(9)], AT_THE_END, stop)
    letters = [count for table, count in connection.posts if table == "dead_letters"]
    assert letters == [3, 3, 2, 1]


def test_a_letter_that_is_refused_does_not_take_the_documents_of_others(
    warehouse: Served, stop: ObservedStop
) -> None:
    with listening(warehouse.installation, max_body=4_000) as small:
        writer = Writer(Watched(small), small.url, small.table_url)
        writer.claim(SOURCE, stop)
        refused = [
            Rejected(f"d{n}", "1-a", None, "x", "y", "z" * (10_000 if n == 2 else 10)) for n in range(5)
        ]
        assert writer.reject(refused, stop)
    found = {id: document for id, _, _, document in warehouse.letters()}
    assert found == {f"d{n}": None if n == 2 else "z" * 10 for n in range(5)}


def test_the_log_names_what_was_refused_and_quotes_nothing_of_it(
    warehouse: Served, writer: Writer, stop: ObservedStop, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"_id":"bad\\n1","_rev":"1-a","_deleted":"Jane Doe","doc":{}}'
    assert writer.write([Row("bad\n1", "1-a", body)], AT_THE_END, stop)
    assert "Jane Doe" in warehouse.installation.value("select reason from v1.dead_letters")
    assert r"document 'bad\n1' cannot be stored (22P02)" in caplog.text
    assert "Jane" not in caplog.text


@pytest.mark.parametrize("level", [logging.ERROR, logging.WARNING])
def test_the_log_does_not_name_each_of_many(
    warehouse: Served, writer: Writer, stop: ObservedStop, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    if level == logging.ERROR:
        assert writer.reject([Rejected(f"d{n}", "1-a", None, "x", "y") for n in range(100)], stop)
    else:
        assert writer.write([row(f"d{n}", r'"\u0000"') for n in range(100)], AT_THE_END, stop)
    said = [one.getMessage() for one in caplog.records if one.levelno == level and "document" in one.message]
    assert len(said) == 11
    assert "90 more documents" in said[-1]


def test_the_same_change_twice_in_one_batch_of_letters_is_one(
    warehouse: Served, writer: Writer, stop: ObservedStop, tmp_path: Path
) -> None:
    letter = Rejected("a", "1-a", None, "x", "y")
    assert writer.reject([letter, letter], stop)
    assert len(warehouse.letters()) == len(lines(tmp_path)) == 1


def test_a_disk_that_refuses_the_file_of_letters_stops_nothing(
    warehouse: Served, connection: Watched, stop: ObservedStop, tmp_path: Path, caplog: Any
) -> None:
    (tmp_path / "dead_letter_queue").write_text("a file where the folder should be")
    writer = Writer(connection, warehouse.url, warehouse.table_url, DeadLetterFile(tmp_path, "medic"))
    writer.claim(SOURCE, stop)
    assert writer.write([row("a"), row("bad", DEEP)], AT_THE_END, stop)
    assert [id for id, *_ in warehouse.letters()] == ["bad"]
    assert "kept in the database only" in caplog.text


FAILS_INSIDE = """
    create function v1.fails_inside() returns trigger language plpgsql as $$ begin
      if new._id = 'bad' then raise exception 'invalid memory alloc' using errcode = 'XX000'; end if;
      return new;
    end $$;
    create trigger fails_inside before insert on v1.medic for each row execute function v1.fails_inside()
"""


def test_a_large_document_that_postgresql_fails_at_inside_is_a_dead_letter(
    warehouse: Served, writer: Writer, stop: ObservedStop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does with seventeen million numbers in a list; made small here."""
    monkeypatch.setattr(splitting, "LARGE", 1_000)
    warehouse.installation.query(FAILS_INSIDE)
    rows = [row("a"), row("bad", json.dumps("x" * 1_000)), row("b")]
    assert writer.write(rows, AT_THE_END, stop)
    assert set(documents(warehouse)) == {"a", "b"}
    assert [(id, code) for id, _, code, _ in warehouse.letters()] == [("bad", "XX000")]


def test_a_small_document_that_postgresql_fails_at_inside_is_tried_again(
    warehouse: Served, writer: Writer, stop: ObservedStop
) -> None:
    """Something is broken there, and that is not the document's fault."""
    warehouse.installation.query(FAILS_INSIDE)
    done: list[bool] = []
    rows = [row("a"), row("bad"), row("b")]
    thread = threading.Thread(target=lambda: done.append(writer.write(rows, AT_THE_END, stop)), daemon=True)
    thread.start()
    stop.await_pause()
    assert warehouse.letters() == []
    warehouse.installation.query("drop trigger fails_inside on v1.medic")
    thread.join(20)
    assert done == [True]
    assert set(documents(warehouse)) == {"a", "bad", "b"}
