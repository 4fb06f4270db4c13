"""The one writer of a source, against the embedded ingest server and a real PostgreSQL."""

from __future__ import annotations

import json
import threading
from contextlib import closing

import psycopg2
import pytest
from psycopg2 import sql
from warehouse.served import PATIENCE, SECRET, ObservedStop, Served, listening

from cht_sync.errors import Superseded
from cht_sync.pipeline.contracts import Position, Rejected
from cht_sync.pipeline.postgrest import writer as writer_module
from cht_sync.pipeline.postgrest.row import Row
from cht_sync.pipeline.postgrest.writer import Writer
from cht_sync.tokens import TokenSource, make_token

SOURCE = "couch/medic"
POISON = "[" * 20_000 + "]" * 20_000
"""Deeper than PostgreSQL's stack: nothing in it could be replaced."""


def row(id: str, revision: str = "1-a", *, number: str = "1", text: str = "") -> Row:
    body = f'{{"_id":{json.dumps(id)},"_rev":"{revision}","doc":{{"n":{number},"t":"{text}"}}}}'
    return Row(id, revision, body.encode(), f"{id}-seq")


def at(sequence: str, pending: int | None = 0) -> Position:
    return Position(SOURCE, sequence, pending)


def claimed(warehouse: Served, stop: threading.Event) -> Writer:
    writer = warehouse.writer()
    writer.claim(SOURCE, stop)
    return writer


def test_a_new_source_has_no_position(warehouse: Served, stop: ObservedStop) -> None:
    assert warehouse.writer().claim(SOURCE, stop) is None
    sequence, pending, epoch, number = warehouse.installation.progress()
    assert (sequence, pending, number) == (None, None, 1)
    assert epoch > 0


def test_the_next_writer_goes_on_where_the_last_one_was(warehouse: Served, stop: ObservedStop) -> None:
    assert claimed(warehouse, stop).write([row("a")], at("7-x", 3), stop)
    (*_position, epoch, _number) = warehouse.installation.progress()
    assert warehouse.writer().claim(SOURCE, stop) == at("7-x", 3)
    (sequence, pending, next_epoch, number) = warehouse.installation.progress()
    assert (sequence, pending, number) == ("7-x", 3, 1)
    assert next_epoch > epoch


def test_a_writer_that_was_taken_over_cannot_write(warehouse: Served, stop: ObservedStop) -> None:
    old = claimed(warehouse, stop)
    assert old.write([row("a", "2-a")], at("7-x"), stop)
    new = claimed(warehouse, stop)
    for rows in ([row("a", "1-late")], []):
        with pytest.raises(Superseded):
            old.write(rows, at("3-x"), stop)
    assert new.write([row("b")], at("8-x"), stop)
    assert warehouse.rows() == {"a": "2-a", "b": "1-a"}
    assert warehouse.installation.progress()[0] == "8-x"


def test_a_writer_that_was_taken_over_waits_until_the_other_releases(
    warehouse: Served, stop: ObservedStop
) -> None:
    old, new = claimed(warehouse, stop), claimed(warehouse, stop)
    assert not old.is_released(stop)
    assert new.write([], None, stop)
    assert not old.is_released(stop)
    new.release()
    assert old.is_released(stop)


def test_a_writer_that_gives_no_sign_of_life_for_the_time_of_its_hold_counts_as_gone(
    warehouse: Served, stop: ObservedStop, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(writer_module.time, "monotonic", lambda: now)
    old, new = claimed(warehouse, stop), claimed(warehouse, stop)
    assert not old.is_released(stop)
    now += 299
    assert not old.is_released(stop)
    assert new.write([], None, stop)
    now += 299
    assert not old.is_released(stop)
    now += 300
    assert old.is_released(stop)


def test_a_writer_that_nobody_has_taken_over_may_go_on(warehouse: Served, stop: ObservedStop) -> None:
    assert claimed(warehouse, stop).is_released(stop)


@pytest.mark.parametrize(
    "earlier",
    ["update v1.couchdb_progress set seq = '7-x', batch = 2", "delete from v1.couchdb_progress"],
    ids=["an earlier moment of this writer", "before the first writer"],
)
def test_a_database_put_back_to_an_earlier_state_is_noticed_and_read_from_there(
    warehouse: Served, stop: ObservedStop, earlier: str
) -> None:
    writer = claimed(warehouse, stop)
    assert writer.write([row("a")], at("7-x"), stop)
    assert writer.write([row("b")], at("8-x"), stop)

    warehouse.installation.query(earlier)
    with pytest.raises(Superseded, match="put back"):
        writer.write([row("c")], at("9-x"), stop)
    assert writer.is_released(stop)
    position = writer.claim(SOURCE, stop)
    assert position == (at("7-x") if "update" in earlier else None)
    assert writer.write([row("b"), row("c")], at("9-x"), stop)


def test_a_writer_that_a_restored_backup_has_forgotten_cannot_write_beside_the_next_one(
    warehouse: Served, stop: ObservedStop
) -> None:
    """The backup is older than both, so both take an epoch above the same one; and both have sent as much."""
    assert claimed(warehouse, stop).write([row("a")], at("7-x"), stop)
    backup = warehouse.installation.progress()
    old = claimed(warehouse, stop)
    assert old.write([row("b")], at("8-x"), stop)
    warehouse.installation.query(
        "update v1.couchdb_progress set seq = %s, pending = %s, epoch = %s, batch = %s", *backup
    )
    new = claimed(warehouse, stop)
    assert new.write([row("b", "2-b")], at("9-x"), stop)
    with pytest.raises(Superseded):
        old.write([row("b", "1-late")], at("8-y"), stop)
    assert new.write([], at("10-x"), stop)
    assert warehouse.rows() == {"a": "1-a", "b": "2-b"}


def test_a_release_keeps_the_position(warehouse: Served, stop: ObservedStop) -> None:
    writer = claimed(warehouse, stop)
    writer.write([], at("7-x", 5), stop)
    writer.release()
    assert warehouse.installation.progress()[:2] == ("7-x", 5)


def test_a_writer_that_never_claimed_releases_nothing(warehouse: Served) -> None:
    warehouse.writer().release()
    assert warehouse.installation.query("select * from v1.couchdb_progress") == []


@pytest.mark.parametrize("place", [0, 4, 8])
def test_one_poison_document_becomes_one_dead_letter_and_all_others_are_stored(
    warehouse: Served, stop: ObservedStop, place: int
) -> None:
    rows = [row(f"d{n}", number=POISON if n == place else str(n)) for n in range(9)]
    assert claimed(warehouse, stop).write(rows, at("9-x"), stop)
    assert set(warehouse.rows()) == {f"d{n}" for n in range(9)} - {f"d{place}"}
    ((id, revision, code, document),) = warehouse.letters()
    assert (id, revision, code) == (f"d{place}", "1-a", "54001")
    assert document == rows[place].body.decode()
    assert warehouse.installation.progress()[:2] == ("9-x", 0)
    columns = "source, database, seq, reason <> '', at between now() - interval '1 hour' and now()"
    (said,) = warehouse.installation.query(f"select {columns} from v1.dead_letters")
    assert said == (SOURCE, SOURCE.partition("/")[2], f"d{place}-seq", True, True)


def test_the_position_moves_only_when_all_is_safe(warehouse: Served, stop: ObservedStop) -> None:
    """The dead letters cannot be written, so the batch does not end, though its good rows are stored."""
    table = sql.SQL("v1.dead_letters")
    role = sql.Identifier(warehouse.role)
    writer = claimed(warehouse, stop)
    assert writer.write([], at("1-x"), stop)
    warehouse.installation.query(sql.SQL("revoke insert on {} from {}").format(table, role))
    rows = [row("a"), row("b"), row("bad", number=POISON)]
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(writer.write(rows, at("3-x"), stop)), daemon=True)
    thread.start()
    stop.await_pause()
    assert warehouse.installation.progress()[0] == "1-x"
    assert set(warehouse.rows()) == {"a", "b"}
    warehouse.installation.query(sql.SQL("grant insert on {} to {}").format(table, role))
    thread.join(PATIENCE)
    assert done == [True]
    assert warehouse.installation.progress()[0] == "3-x"


def test_a_replay_makes_no_second_dead_letter(warehouse: Served, stop: ObservedStop) -> None:
    for read_at in ("morning", "evening"):
        poison = row("bad", number=POISON, text=read_at)  # what the pipeline adds differs each time
        assert claimed(warehouse, stop).write([row("a"), poison], at("2-x"), stop)
    assert len(warehouse.letters()) == 1
    assert claimed(warehouse, stop).write([row("bad", "2-a", number=POISON)], at("3-x"), stop)
    assert [revision for _, revision, _, _ in warehouse.letters()] == ["1-a", "2-a"]


def test_changes_that_the_input_refused_become_dead_letters(warehouse: Served, stop: ObservedStop) -> None:
    refused = [
        Rejected(None, None, None, "malformed", "no JSON", '{"seq"\0'),
        Rejected("a\ud800", "1-a", "4-x", "22P05", "strange"),
    ]
    writer = claimed(warehouse, stop)
    for _ in range(2):
        assert writer.reject(refused, stop)
    assert warehouse.letters() == [
        (None, None, "malformed", '{"seq"\\u0000'),
        ("a\\ud800", "1-a", "22P05", None),
    ]


def test_a_batch_too_large_for_the_server_is_split(warehouse: Served, stop: ObservedStop) -> None:
    with listening(warehouse.installation, max_body=4_000) as small:
        rows = [row(f"d{n}", text="x" * 1_000) for n in range(8)]
        assert claimed(small, stop).write(rows, at("8-x"), stop)
    assert len(warehouse.rows()) == 8
    assert warehouse.letters() == []


def test_a_document_too_large_for_the_server_becomes_a_dead_letter_without_it(
    warehouse: Served, stop: ObservedStop
) -> None:
    with listening(warehouse.installation, max_body=4_000) as small:
        rows = [row("a"), row("huge", text="x" * 10_000), row("b")]
        assert claimed(small, stop).write(rows, at("3-x"), stop)
    assert set(warehouse.rows()) == {"a", "b"}
    assert warehouse.letters() == [("huge", "1-a", "54000", None)]
    assert warehouse.installation.progress()[0] == "3-x"


def test_an_outage_of_postgresql_is_waited_for(warehouse: Served, stop: ObservedStop) -> None:
    writer = claimed(warehouse, stop)
    name = warehouse.installation.name
    with closing(psycopg2.connect(warehouse.installation.server.dsn())) as admin:
        admin.autocommit = True
        cursor = admin.cursor()
        cursor.execute(f"alter database {name} allow_connections false")
        cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        done: list[bool] = []
        thread = threading.Thread(
            target=lambda: done.append(writer.write([row("a")], at("1-x"), stop)), daemon=True
        )
        thread.start()
        stop.await_pause()
        cursor.execute(f"alter database {name} allow_connections true")
        thread.join(PATIENCE)
    assert done == [True]
    assert warehouse.rows() == {"a": "1-a"}


def test_a_server_that_is_down_is_waited_for(warehouse: Served, stop: ObservedStop) -> None:
    done: list[bool] = []
    with listening(warehouse.installation) as before:
        writer = claimed(before, stop)
    thread = threading.Thread(
        target=lambda: done.append(writer.write([row("a")], at("1-x"), stop)), daemon=True
    )
    thread.start()
    stop.await_pause()
    with listening(warehouse.installation, port=before.port):
        thread.join(PATIENCE)
    assert done == [True]
    assert warehouse.rows() == {"a": "1-a"}


def test_a_stop_ends_the_waiting_and_nothing_counts_as_safe(warehouse: Served, stop: ObservedStop) -> None:
    with listening(warehouse.installation) as before:
        writer = claimed(before, stop)
    done: list[bool] = []
    thread = threading.Thread(
        target=lambda: done.append(writer.write([row("a")], at("1-x"), stop)), daemon=True
    )
    thread.start()
    stop.await_pause()
    stop.set()
    thread.join(PATIENCE)
    assert done == [False]
    assert writer.write([row("a")], at("1-x"), stop) is False


def test_a_database_that_answers_gets_the_whole_batch_after_a_stop(
    warehouse: Served, stop: ObservedStop
) -> None:
    writer = claimed(warehouse, stop)
    stop.set()
    assert writer.write([row("a"), row("b")], at("1-x"), stop)
    assert warehouse.rows() == {"a": "1-a", "b": "1-a"}


def test_a_token_that_the_server_finds_expired_is_made_anew(warehouse: Served, stop: ObservedStop) -> None:
    class Stale(TokenSource):
        renewed = 0

        def token(self) -> str:
            return super().token() if self.renewed else make_token(SECRET, warehouse.role, lifetime=-3600)

        def renew(self) -> None:
            super().renew()
            self.renewed += 1

    tokens = Stale(SECRET, warehouse.role)
    assert warehouse.writer(tokens).claim(SOURCE, stop) is None
    assert tokens.renewed == 1
    tokens.renewed = 0
    writer = warehouse.writer(tokens)
    writer.claim(SOURCE, stop)
    tokens.renewed = 0
    assert writer.write([row("a")], at("1-x"), stop)
    assert tokens.renewed == 1


def test_a_wrong_secret_is_waited_for_and_makes_no_dead_letter(warehouse: Served, stop: ObservedStop) -> None:
    writer = claimed(warehouse, stop)
    writer._connection._tokens = TokenSource("another-secret-that-is-long-enough-0123456789", warehouse.role)
    done: list[bool] = []
    thread = threading.Thread(
        target=lambda: done.append(writer.write([row("a")], at("1-x"), stop)), daemon=True
    )
    thread.start()
    stop.await_pause()
    writer._connection._tokens = TokenSource(SECRET, warehouse.role)
    thread.join(PATIENCE)
    assert done == [True]
    assert warehouse.letters() == []


def test_a_table_held_by_another_source_is_waited_for(warehouse: Served, stop: ObservedStop) -> None:
    other = warehouse.writer()
    other.claim("elsewhere/medic", stop)
    found: list[Position | None] = []
    thread = threading.Thread(
        target=lambda: found.append(warehouse.writer().claim(SOURCE, stop)), daemon=True
    )
    thread.start()
    stop.await_pause()
    other.release()
    thread.join(PATIENCE)
    assert found == [None]


def test_half_of_a_batch_that_takes_too_long_is_tried(warehouse: Served, stop: ObservedStop) -> None:
    """The server gives up on more than two rows at once."""
    warehouse.installation.query("""
        create function v1.slow() returns trigger language plpgsql as $$ begin
          if (select count(*) from added) > 2 then raise exception 'too slow' using errcode = '57014'; end if;
          return null;
        end $$;
        create trigger slow after insert on v1.medic referencing new table as added
          for each statement execute function v1.slow()
    """)
    assert claimed(warehouse, stop).write([row(f"d{n}") for n in range(7)], at("7-x"), stop)
    assert len(warehouse.rows()) == 7
    assert warehouse.installation.progress()[0] == "7-x"
