"""`cht-sync resync` brings contents back to what CouchDB holds, and turns nothing back."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from typing import Any

import pytest
from postgres_fixture import on_every_server
from waiting import eventually

from cht_sync.reconcile import contents, recheck, verify
from cht_sync.reconcile.couch import Couch
from cht_sync.reconcile.state import State
from cht_sync.reconcile.table import Table
from reconcile.world import World, edited

pytest_generate_tests = on_every_server

DAMAGE = "update {} set doc = '{{\"damaged\": true}}' where _id = any(%s)"
ROWS = "select _id, xmin::text, ctid::text, saved_timestamp from {} order by _id"
ODD_IDS = (
    "a/b", "a+b?c&d#e%20", "नेपाली", "😀", " ", "-", "--doc", "_design/medic/x", "_design/नेपाली", "quote\"'\\",
    "line\nend", "long" * 2_000, "%2F", "a,b",
)  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recheck, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(recheck, "LONGEST_PAUSE", 0.02)


def watch_revisions(world: World) -> None:
    """Keep, in a table of the test's, each write that gives a document an older revision than it had."""
    world.query(
        """
        create schema if not exists watched;
        create table if not exists watched.turned_back (id text, before text, after text);
        create or replace function watched.look() returns trigger language plpgsql security definer as $$
        begin
          if split_part(new._rev, '-', 1)::int < split_part(old._rev, '-', 1)::int then
            insert into watched.turned_back values (new._id, old._rev, new._rev);
          end if;
          return null;
        end $$;
        grant usage on schema watched to public;
        create trigger watched after update on {} for each row execute function watched.look();
        """
    )


def turned_back(world: World) -> list[tuple[Any, ...]]:
    return world.installation.query("select * from watched.turned_back")


def test_a_damaged_document_of_the_right_revision_is_mended_by_resync_and_not_by_verify(world: World) -> None:
    world.put("a", "b", "c", "gone")
    world.load()
    world.delete("gone")
    world.load()
    world.damage(DAMAGE, ["b", "gone"])
    assert world.run("verify", "--repair").exit_code == 0
    assert world.rows() != world.winners()
    answer = world.run("resync", world.database)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout == f"{world.database}: 2 of 4 documents written anew, 2 the same\n"
    assert world.rows() == world.winners()


def test_rows_that_are_right_keep_stamp_and_version_and_a_second_run_changes_nothing(world: World) -> None:
    world.put("a", "b", text="a\0b", number=1.50)
    world.load_until(lambda: len(world.rows()) == 2)
    before = {row[0]: row for row in world.query(ROWS)}
    world.damage(DAMAGE, ["b"])
    assert world.run("resync", world.database).exit_code == 0
    after = {row[0]: row for row in world.query(ROWS)}
    assert after["a"] == before["a"]
    assert after["b"][3] > before["b"][3]
    state = world.installation.query("select * from v1.cht_sync_state")
    again = world.run("resync", world.database)
    assert again.stdout == f"{world.database}: 0 of 2 documents written anew, 2 the same\n"
    assert {row[0]: row for row in world.query(ROWS)} == after
    assert world.installation.query("select * from v1.cht_sync_state") == state


def test_what_a_repair_mends_is_mended_too(world: World) -> None:
    world.put("missing", "stale", "revived", "lost tombstone", "same", "damaged")
    world.load()
    world.delete("lost tombstone")
    world.load()
    world.forget("missing", "lost tombstone")
    world.damage("update {} set _rev = '1-other', doc = '{{}}' where _id = 'stale'")
    world.damage("update {} set _deleted = true where _id = 'revived'")
    world.damage(DAMAGE, ["damaged"])
    world.damage("insert into {} (_id, _rev, doc, saved_timestamp) values ('purged', '3-x', '[1]', now())")
    answer = world.run("resync", world.database)
    assert answer.exit_code == 0
    assert answer.stdout == (
        f"{world.database}: 6 of 7 documents written anew, 1 the same\n"
        "  tombstones now, since CouchDB does not know them: 1\n"
    )
    purged = {"_id": "purged", "_rev": "3-x", "_deleted": True}
    assert world.rows() == world.winners() | {"purged": ("3-x", True, purged)}


def test_many_rows_are_compared_and_written_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cht_sync.reconcile.couch.DOCUMENTS_PAGE", 40)
    monkeypatch.setattr(contents, "AT_ONCE", 30)
    monkeypatch.setattr(contents, "BATCH", 7)
    world.put(*(f"{number:03}" for number in range(110)))
    world.load()
    damaged = [f"{number:03}" for number in range(0, 110, 2)]
    world.damage(DAMAGE, damaged)
    answer = world.run("resync", world.database)
    assert "55 of 110 documents written anew, 55 the same" in answer.stdout
    assert world.rows() == world.winners()


def test_an_update_that_lands_between_read_and_write_wins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read and compared as damaged; then the pipeline writes a later revision, or a deletion."""
    world.put("a", "b", "c")
    written = contents.write

    def late(table: Table, replacements: Any) -> Any:
        assert [one.row.document_id for one in replacements] == ["a", "b", "c"]
        world.put("a")
        world.delete("b")
        eventually(lambda: world.rows()["a"][0].startswith("2-") and world.rows()["b"][1])
        return written(table, replacements)

    with world.pipeline():
        eventually(lambda: world.rows() == world.winners())
        watch_revisions(world)
        world.damage(DAMAGE, ["a", "b", "c"])
        monkeypatch.setattr(contents, "write", late)
        answer = world.run("resync", world.database)
        assert answer.exit_code == 0, answer.output
        assert "1 of 3 documents written anew, 2 the same" in answer.stdout
        assert world.rows() == world.winners()
    assert turned_back(world) == []


def test_beside_a_busy_pipeline_nothing_is_turned_back_and_both_sides_end_equal(world: World) -> None:
    dice = random.Random(5)
    ids = [f"d{number:02}" for number in range(40)]

    with world.pipeline():
        world.put(*ids)
        eventually(lambda: len(world.rows()) == len(ids))
        watch_revisions(world)
        rounds = 0
        with edited(world, ids, dice) as writer:
            while writer.is_alive():
                world.damage(DAMAGE, random.Random(rounds).sample(ids, 5))
                world.run("resync", world.database, "--wait", "0")
                world.run("resync", world.database, "--wait", "0", "--doc", ids[rounds % 40])
                rounds += 1
        assert rounds > 3
        assert world.run("resync", world.database).exit_code == 0
        assert world.rows() == world.winners()
        assert turned_back(world) == []
        world.put("the end")
        eventually(lambda: world.rows() == world.winners())


def test_what_a_living_pipeline_is_about_to_bring_is_left_to_it(world: World) -> None:
    world.put("late", "damaged")
    world.load()
    world.installation.query(
        "update v1.couchdb_progress set held_until = clock_timestamp() + interval '5 minutes'"
    )
    before = world.rows()["late"]
    world.put("late")
    world.damage(DAMAGE, ["damaged"])
    for words in ((), ("--doc", "late", "--doc", "damaged")):
        answer = world.run("resync", world.database, "--wait", "0", *words)
        assert answer.exit_code == 1
        assert "still to come from the pipeline: 1" in answer.stdout
        assert world.rows()["late"] == before
        assert world.rows()["damaged"] == world.winners()["damaged"]
    with world.pipeline():
        assert world.run("resync", world.database).exit_code == 0
    assert world.rows() == world.winners()


def test_beside_a_first_load_contents_are_mended_and_the_rest_is_said_to_be_on_its_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "FAR_BEHIND", 5)
    world.put("a")
    world.load()
    world.installation.query(
        "update v1.couchdb_progress set held_until = clock_timestamp() + interval '5 minutes'"
    )
    world.damage(DAMAGE, ["a"])
    world.put(*"bcdefgh")
    answer = world.run("resync", world.database)
    assert answer.exit_code == 1
    assert "1 of 8 documents written anew, 0 the same" in answer.stdout
    assert "7 changes still to bring" in answer.stdout
    assert world.rows() == {"a": world.winners()["a"]}


def test_named_documents_are_written_and_no_others(world: World) -> None:
    world.put("a", "b", "c", "lost", "gone")
    world.load()
    world.delete("gone")
    world.load()
    world.damage(DAMAGE, ["a", "b", "gone"])
    world.forget("lost")
    before = world.rows()
    answer = world.run(
        "resync", world.database, "--doc", "a", "--doc", "c", "--doc", "lost", "--doc", "gone", "--doc", "a"
    )
    assert answer.exit_code == 0
    assert answer.stdout == f"{world.database}: 3 of 4 documents written anew, 1 the same\n"
    assert world.rows() == world.winners() | {"b": before["b"]}


def test_odd_ids_are_named_as_they_are(world: World) -> None:
    world.put(*ODD_IDS)
    world.load()
    world.damage(DAMAGE, list(ODD_IDS))
    named = [word for one in ODD_IDS if one != "-" for word in (f"--doc={one}",)]
    answer = world.run("resync", world.database, *named)
    assert answer.exit_code == 0, answer.output
    assert f"{len(ODD_IDS) - 1} of {len(ODD_IDS) - 1} documents written anew" in answer.stdout
    assert world.run("resync", world.database, "--doc", "-", input="-\n").exit_code == 0
    assert world.rows() == world.winners()


def test_ids_come_from_standard_input_one_a_line(world: World) -> None:
    world.put("a", "b c", "नेपाली", "d")
    world.load()
    world.damage(DAMAGE, ["a", "b c", "नेपाली", "d"])
    answer = world.run("resync", world.database, "--doc", "-", "--doc", "a", input="b c\r\n\nनेपाली")
    assert answer.exit_code == 0, answer.output
    assert f"{world.database}: 3 of 3 documents written anew" in answer.stdout
    assert {one for one, row in world.rows().items() if row[2] == {"damaged": True}} == {"d"}


def test_unknown_documents_are_named_and_the_others_are_done(world: World) -> None:
    world.put("a")
    world.load()
    world.damage(DAMAGE, ["a"])
    answer = world.run("resync", world.database, "--doc", "typo\x07", "--doc", "a", "--doc", "_local/x")
    assert answer.exit_code == 1
    assert answer.stdout == (
        f"{world.database}: 1 of 1 document written anew, 0 the same\n"
        "  neither in CouchDB nor in PostgreSQL: typo\\x07, _local/x\n"
    )
    assert world.rows() == world.winners()


def test_a_named_document_that_couchdb_does_not_know_and_that_has_a_row_becomes_a_tombstone(
    world: World,
) -> None:
    world.put("a")
    world.load()
    world.damage("insert into {} (_id, _rev, doc, saved_timestamp) values ('purged', '3-x', '[1]', now())")
    for written in (1, 0):
        answer = world.run("resync", world.database, "--doc", "purged")
        assert answer.exit_code == 0
        assert f"{written} of 1 document written anew, {1 - written} the same" in answer.stdout
    assert world.rows()["purged"][1:] == (True, {"_id": "purged", "_rev": "3-x", "_deleted": True})


@pytest.mark.parametrize("words", [["--doc", ""], ["--doc", "-"]])
def test_no_name_does_not_mean_all(world: World, words: list[str]) -> None:
    world.put("a")
    world.load()
    world.damage(DAMAGE, ["a"])
    answer = world.run("resync", world.database, *words, input="\n")
    assert answer.exit_code == 2
    assert "names no document" in answer.stderr
    assert world.rows()["a"][2] == {"damaged": True}


def test_names_from_a_standard_input_that_is_closed_are_refused_in_one_line(world: World) -> None:
    command = [sys.executable, "-m", "cht_sync", "resync", world.database, "--env", "prod", "--doc", "-"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command],
        cwd=world.home,
        env={**os.environ, **world.environment()},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "standard input is closed" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_database_is_wrong_usage_and_the_known_ones_are_named(world: World) -> None:
    answer = world.run("resync", "stranger")
    assert answer.exit_code == 2
    assert "stranger is none of COUCHDB_DBS" in answer.stderr
    assert f"They are: {world.database}" in answer.stderr


def test_the_json_says_what_the_lines_say(world: World) -> None:
    world.put("a", "b", "c")
    world.load()
    world.damage(DAMAGE, ["a"])
    world.forget("b")
    answer = world.run("resync", world.database, "--json")
    empty: dict[str, Any] = {kind: [] for kind in ("missing", "stale", "extra", "dead_lettered", "dropped")}
    assert json.loads(answer.stdout) == {
        "name": world.database,
        "done": True,
        "documents": 3,
        "written": 2,
        "same": 1,
        "refused": 0,
        "unknown": [],
        "in_flight": 0,
        "compared": True,
        "problem": None,
        **empty,
        "counts": {"unknown": 0, **dict.fromkeys(empty, 0)},
    }
    named = world.run("resync", world.database, "--json", "--doc", "a", "--doc", "x")
    found = json.loads(named.stdout)
    assert (named.exit_code, found["done"], found["unknown"], found["same"]) == (1, False, ["x"], 1)


def test_what_postgresql_refuses_is_a_dead_letter_and_the_rest_is_done(world: World) -> None:
    world.put("bad", refused=True)
    world.put("good")
    world.load()
    world.damage(DAMAGE, ["bad", "good"])
    world.query("alter table {} add constraint no check (not doc ? 'refused')")
    answer = world.run("resync", world.database)
    assert answer.exit_code == 1
    assert "1 of 2 documents written anew, 0 the same" in answer.stdout
    assert "refused by PostgreSQL, their rows stay as they were: 1" in answer.stdout
    assert "dead-letters list" in answer.stdout
    rev = world.winners()["bad"][0]
    assert world.letters() == [("bad", rev, "23514", None)]
    assert world.rows()["good"] == world.winners()["good"]
    world.query("alter table {} drop constraint no")
    assert world.run("resync", world.database).exit_code == 0
    assert world.letters() == [("bad", rev, "23514", "stored")]
    assert world.rows() == world.winners()


def test_a_document_whose_dead_letter_was_dropped_is_written_only_if_it_is_named(world: World) -> None:
    world.query("alter table {} add constraint no check (not doc ? 'refused')")
    world.put("bad", refused=True)
    with world.pipeline():
        eventually(lambda: len(world.letters()) == 1)
    world.query("alter table {} drop constraint no")
    assert world.run("dead-letters", "drop", "1", "--yes").exit_code == 0
    answer = world.run("resync", world.database)
    assert answer.exit_code == 0
    assert "dropped by an operator: bad" in answer.stdout
    assert world.rows() == {}
    assert world.run("resync", world.database, "--doc", "bad").exit_code == 0
    assert world.rows() == world.winners()


def test_a_row_that_is_no_jsonb_keeps_no_other_from_being_compared(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("a", "b", "c", "d")
    world.load()
    world.damage(DAMAGE, ["a", "d"])
    document = world.winners()["b"][2]
    nested = b'{"_id":"b","_rev":"%s","deep":%s}' % (document["_rev"].encode(), b"[" * 20_000 + b"]" * 20_000)
    with_content = Couch._with_content

    def deep(couch: Couch, row: Any) -> Any:
        found = with_content(couch, row)
        return found._replace(content=nested) if found is not None and found.id == "b" else found

    monkeypatch.setattr(Couch, "_with_content", deep)
    answer = world.run("resync", world.database)
    assert answer.exit_code == 1
    assert "2 of 4 documents written anew, 1 the same" in answer.stdout
    assert world.rows() == world.winners()
    assert [letter[0] for letter in world.letters()] == ["b"]


@pytest.mark.parametrize("value", [b"1e140000", b'"\xff"', b'"\\ud800"', b'"\\u0000"'])
def test_what_jsonb_cannot_hold_is_replaced_and_noted_and_then_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, value: bytes
) -> None:
    world.put("a", "b", "c")
    world.load()
    right = world.rows()
    content = b'{"_id":"b","_rev":"%s","value":%s}' % (right["b"][0].encode(), value)
    with_content = Couch._with_content

    def replaced(couch: Couch, row: Any) -> Any:
        found = with_content(couch, row)
        return found._replace(content=content) if found is not None and found.id == "b" else found

    monkeypatch.setattr(Couch, "_with_content", replaced)
    for written in (1, 0):
        answer = world.run("resync", world.database)
        assert answer.exit_code == 0, answer.output
        assert f"{written} of 3 documents written anew" in answer.stdout
    assert world.rows()["b"][2]["value"] == "\ufffd"
    assert {**world.rows(), "b": right["b"]} == right
    assert world.installation.query("select doc_id, replaced from v1.replaced_values") == [("b", 1)]


@pytest.mark.parametrize("world", ["_users"], indirect=True)
def test_no_passwords_are_brought(world: World) -> None:
    name = "org.couchdb.user:ada"
    world.put(name, name="ada", type="user", roles=[], salt="s", derived_key="k", iterations=10)
    world.load_until(lambda: name in world.rows())
    before = world.rows()
    assert "0 of 1 document written anew, 1 the same" in world.run("resync", world.database).stdout
    world.damage(DAMAGE, [name])
    assert world.run("resync", world.database).exit_code == 0
    assert world.rows() == before


def test_a_resync_touches_neither_epoch_nor_position_of_a_living_pipeline(world: World) -> None:
    with world.pipeline():
        world.put("a", "b")
        eventually(lambda: world.rows() == world.winners())
        query = "select seq, epoch from v1.couchdb_progress"
        before = world.installation.query(query)
        world.damage(DAMAGE, ["a"])
        assert world.run("resync", world.database).exit_code == 0
        assert world.installation.query(query) == before
        world.put("c")
        eventually(lambda: world.rows() == world.winners())


def test_a_row_of_another_revision_is_never_written_by_the_pass_over_contents(world: World) -> None:
    world.put("a")
    world.load()
    with world.installation.connected() as connection:
        table = Table(connection, "v1", world.database, "couch")
        older = {"_id": "a", "_rev": "0-old", "doc": {}}
        rev = world.winners()["a"][0]
        assert table.compared([json.dumps(older).encode()]) == {}
        deleted = {"_id": "a", "_rev": rev, "_deleted": "true", "doc": {}}
        assert table.compared([json.dumps(deleted).encode()]) == {}
        same = {"_id": "a", "_rev": rev, "doc": {}}
        assert table.compared([json.dumps(same).encode()]) == {"a": (State(rev, False), False)}
