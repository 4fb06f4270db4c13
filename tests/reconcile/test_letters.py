"""Dead letters in the operator's hand, by the commands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from waiting import eventually

from cht_sync.reconcile.couch import Couch
from reconcile.world import World

REFUSAL = "alter table {} add constraint no check (not doc ? 'refused')"


@pytest.fixture
def refused(world: World) -> World:
    """Two letters, made by the pipeline: `bad` with a reason that can pass, and `a<NUL>b`."""
    world.query(REFUSAL)
    world.put("bad", refused=True)
    world.put("a\0b", "good")
    with world.pipeline():
        eventually(lambda: len(world.letters()) == 2 and "good" in world.rows())
    return world


def letter_of(world: World, document_id: str) -> int:
    ((found,),) = world.installation.query("select id from v1.dead_letters where doc_id = %s", document_id)
    return int(found)


def listed(world: World, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.run("dead-letters", "list", "--json", *options).stdout)
    return found


def test_letters_are_listed_as_json(refused: World) -> None:
    found = listed(refused)
    assert {one["doc_id"] for one in found} == {"bad", "a\\u0000b"}
    for one in found:
        assert {"id", "database", "doc_id", "rev", "seq", "code", "reason", "at"} <= set(one)
        assert one["database"] == refused.database
        assert "document" not in one


def test_letters_are_listed_for_people(refused: World) -> None:
    shown = refused.run("dead-letters", "list").stdout
    assert "bad" in shown
    assert "23514" in shown


def test_each_letter_has_one_line_however_long_its_texts_are(world: World) -> None:
    world.installation.query(
        "insert into v1.dead_letters (fingerprint, source, database, doc_id, rev, code, reason) "
        "select 'f' || n, 's', %s, repeat('d', 300), '1-' || repeat('a', 32), '54000', repeat('why ', 200) "
        "from generate_series(1, 2) as n",
        world.database,
    )
    lines = world.run("dead-letters", "list").stdout.splitlines()
    assert len(lines) == 3
    for number, line in enumerate(lines[1:], start=1):
        assert line.startswith(f"{number} ")
        assert "54000" in line
        assert "d…" in line
        assert "why" in line
    assert [len(one["reason"]) for one in listed(world)] == [800, 800]


def test_letters_of_another_database_are_left_out(refused: World) -> None:
    assert listed(refused, "--database", "another") == []
    assert len(listed(refused, "--database", refused.database)) == 2


def test_no_letters_are_said(world: World) -> None:
    assert world.run("dead-letters", "list").stdout == "No dead letters.\n"
    assert listed(world) == []
    assert world.run("dead-letters", "replay", "--all").stdout == "No dead letters.\n"


def test_a_letter_is_shown_with_its_document(refused: World) -> None:
    letter = letter_of(refused, "bad")
    found = json.loads(refused.run("dead-letters", "show", str(letter)).stdout)
    assert json.loads(found["document"])["refused"] is True
    assert found["id"] == letter
    assert found["closed_at"] is None


def test_a_letter_that_is_not_there_is_an_error_that_says_what_to_do(refused: World) -> None:
    for words in (["show", "999"], ["replay", "999"], ["drop", "999", "--yes"]):
        answer = refused.run("dead-letters", *words)
        assert answer.exit_code == 1
        assert "no dead letter 999" in answer.stderr
        assert "dead-letters list --all" in answer.stderr


def test_replaying_stores_the_document_as_it_is_now_and_closes_the_letter(refused: World) -> None:
    letter = letter_of(refused, "bad")
    refused.put("bad", corrected=True)
    answer = refused.run("dead-letters", "replay", str(letter))
    assert (answer.exit_code, answer.stdout) == (0, f"{letter}: stored\n")
    assert refused.rows()["bad"] == refused.winners()["bad"]
    assert [one["doc_id"] for one in listed(refused)] == ["a\\u0000b"]
    closed = {one["doc_id"]: one["closed_by"] for one in listed(refused, "--all")}
    assert closed == {"bad": "stored", "a\\u0000b": None}


def test_replaying_what_is_refused_again_keeps_the_letter(refused: World) -> None:
    letter = letter_of(refused, "bad")
    answer = refused.run("dead-letters", "replay", str(letter))
    assert (answer.exit_code, answer.stdout) == (1, f"{letter}: is refused by PostgreSQL again\n")
    assert len(listed(refused)) == 2


def test_replaying_all_does_what_can_be_done(refused: World) -> None:
    refused.query("alter table {} drop constraint no")
    answer = refused.run("dead-letters", "replay", "--all")
    assert answer.exit_code == 1
    assert f"{letter_of(refused, 'bad')}: stored" in answer.stdout
    assert "CouchDB does not know" in answer.stdout
    assert refused.rows()["bad"] == refused.winners()["bad"]


def test_nothing_is_replayed_from_another_server(refused: World, monkeypatch: pytest.MonkeyPatch) -> None:
    refused.query("alter table {} drop constraint no")
    refused.installation.query("update v1.couchdb_progress set server_uuid = 'the one before'")
    monkeypatch.setattr(Couch, "server_uuid", lambda _couch: "another")
    answer = refused.run("dead-letters", "replay", "--all")
    assert answer.exit_code == 1
    assert "another server" in answer.stderr
    assert "bad" not in refused.rows()


def test_a_document_that_couchdb_does_not_know_is_left_to_a_repair(refused: World) -> None:
    refused.damage("insert into {} (_id, _rev, saved_timestamp) values ('purged', '1-x', now())")
    refused.installation.query("update v1.dead_letters set doc_id = 'purged' where doc_id = 'bad'")
    answer = refused.run("dead-letters", "replay", str(letter_of(refused, "purged")))
    assert (answer.exit_code, "CouchDB does not know" in answer.stdout) == (1, True)
    assert refused.rows()["purged"][1] is False


def test_a_letter_whose_row_is_right_already_is_closed(refused: World) -> None:
    letter = letter_of(refused, "bad")
    rev = refused.winners()["bad"][0]
    refused.query("alter table {} drop constraint no")
    refused.damage("insert into {} (_id, _rev, doc, saved_timestamp) values ('bad', %s, %s, now())",
        rev, json.dumps(refused.document("bad")))  # fmt: skip
    assert refused.run("dead-letters", "replay", str(letter)).exit_code == 0
    assert [one["closed_by"] for one in listed(refused, "--all") if one["id"] == letter] == ["stored"]


def test_replaying_a_deleted_document_stores_its_tombstone(refused: World) -> None:
    refused.delete("bad")
    refused.query("alter table {} drop constraint no")
    assert refused.run("dead-letters", "replay", str(letter_of(refused, "bad"))).exit_code == 0
    assert refused.rows()["bad"] == refused.winners()["bad"]
    assert refused.rows()["bad"][1]


def test_a_letter_without_a_document_cannot_be_replayed(world: World) -> None:
    world.installation.query(
        "insert into v1.dead_letters (fingerprint, source, database, code, reason) "
        "values ('f', 's', %s, 'malformed', '?')",
        world.database,
    )
    answer = world.run("dead-letters", "replay", "--all")
    assert answer.exit_code == 1
    assert "names no document" in answer.stdout


def test_a_letter_of_a_database_that_is_not_synced_cannot_be_replayed(world: World) -> None:
    world.installation.query(
        "insert into v1.dead_letters (fingerprint, source, database, doc_id, code, reason) "
        "values ('f', 's', 'former', 'a', '22P05', '?')"
    )
    answer = world.run("dead-letters", "replay", "--all")
    assert answer.exit_code == 1
    assert "none of COUCHDB_DBS" in answer.stdout


def test_dropping_closes_and_deletes_nothing(refused: World) -> None:
    letter = letter_of(refused, "bad")
    answer = refused.run("dead-letters", "drop", str(letter), "--yes")
    assert (answer.exit_code, answer.stdout) == (0, "1 closed, 0 were closed already.\n")
    assert len(listed(refused)) == 1
    assert len(listed(refused, "--all")) == 2
    again = refused.run("dead-letters", "drop", str(letter), "--yes")
    assert again.stdout == "0 closed, 1 were closed already.\n"
    replayed = refused.run("dead-letters", "replay", str(letter))
    assert (replayed.exit_code, "closed already (dropped)" in replayed.stdout) == (1, True)


def test_dropping_asks_first(refused: World) -> None:
    letter = letter_of(refused, "bad")
    answer = refused.run("dead-letters", "drop", str(letter), input="n\n")
    assert (answer.exit_code, "Close 1 dead letter without" in answer.stdout) == (1, True)
    assert len(listed(refused)) == 2
    assert refused.run("dead-letters", "drop", str(letter), input="y\n").exit_code == 0
    assert len(listed(refused)) == 1


def drop(world: World, *ids: str) -> None:
    letters = [str(letter_of(world, one)) for one in ids]
    assert world.run("dead-letters", "drop", *letters, "--yes").exit_code == 0


def test_what_was_dropped_is_named_and_is_no_difference(refused: World) -> None:
    drop(refused, "bad")
    answer = json.loads(refused.run("verify", "--json").stdout)["databases"][0]
    assert (answer["dropped"], answer["counts"]["dropped"]) == (["bad"], 1)
    assert (answer["missing"], answer["dead_lettered"], answer["same"]) == ([], ["a\0b"], False)
    drop(refused, "a\\u0000b")
    answers = refused.run("verify", "--json")
    assert (answers.exit_code, json.loads(answers.stdout)["same"]) == (0, True)
    text = refused.run("verify")
    assert text.exit_code == 0
    assert "same but for 2 dropped by an operator (" in text.stdout
    assert "\n  dropped by an operator: a\\x00b, bad\n" in text.stdout


def test_a_repair_leaves_alone_what_was_dropped(refused: World) -> None:
    drop(refused, "bad", "a\\u0000b")
    refused.put("also missing")
    repaired = refused.run("verify", "--repair", "--json")
    answer = json.loads(repaired.stdout)["databases"][0]
    assert (repaired.exit_code, answer["repaired"]["written"], answer["repaired"]["refused"]) == (0, 1, 0)
    assert listed(refused) == []
    assert "bad" not in refused.rows()


def test_a_new_revision_of_what_was_dropped_is_judged_anew(refused: World) -> None:
    drop(refused, "bad", "a\\u0000b")
    refused.put("bad", corrected=True)
    answer = json.loads(refused.run("verify", "--json").stdout)["databases"][0]
    assert (answer["missing"], answer["dropped"], answer["same"]) == (["bad"], ["a\0b"], False)
    assert refused.run("verify", "--repair").exit_code == 0
    assert refused.rows()["bad"] == refused.winners()["bad"]


def test_dropping_where_nobody_can_answer_names_the_option(refused: World) -> None:
    answer = refused.run("dead-letters", "drop", str(letter_of(refused, "bad")))
    assert answer.exit_code == 2
    assert "--yes" in answer.stderr
    assert "Aborted" not in answer.output
    assert len(listed(refused)) == 2


@pytest.mark.parametrize("words", [[], ["1", "--all"], ["1", "--database", "medic"]])
def test_replay_wants_either_letters_or_all(world: World, words: list[str]) -> None:
    assert world.run("dead-letters", "replay", *words).exit_code == 2
