"""A repair makes rows what CouchDB holds now, and nothing else."""

from __future__ import annotations

import json
import logging
import random
import shutil
import threading
from typing import Any

import pytest
from postgres_fixture import on_every_server
from waiting import eventually

from cht_sync import render
from cht_sync.pipeline.postgrest.row import Row
from cht_sync.reconcile.databases import sides
from cht_sync.reconcile.state import Kind, State
from cht_sync.reconcile.writing import Outcome, Replacement, write
from reconcile.world import World, at_once, edited, found, only

pytest_generate_tests = on_every_server

PATIENCE = 60.0


def test_each_kind_of_difference_is_mended(world: World) -> None:
    world.put("missing", "stale", "revived", "lost tombstone", "same")
    world.load()
    world.delete("lost tombstone")
    world.load()
    world.forget("missing", "lost tombstone")
    world.damage("update {} set _rev = '1-other', doc = '{{}}' where _id = 'stale'")
    world.damage("update {} set _deleted = true where _id = 'revived'")
    world.damage("insert into {} (_id, _rev, doc, saved_timestamp) values ('purged', '3-x', '[1]', now())")
    result = world.repair()
    assert result.finding.same
    assert result.repaired == {Outcome.WRITTEN: 5}
    purged = {"_id": "purged", "_rev": "3-x", "_deleted": True}
    assert world.rows() == world.winners() | {"purged": ("3-x", True, purged)}
    assert (result.finding.rows, result.finding.tombstones) == (4, 2)


def test_a_repaired_row_is_like_one_of_the_pipelines_but_for_its_stamp(world: World) -> None:
    world.put("a", "b")
    world.load()
    query = """
        select _rev, doc, "@version", doc_as_upsert, _deleted, source,
          saved_timestamp at time zone 'UTC' = "@timestamp", saved_timestamp
        from {} where _id = 'a'
    """
    (before,) = world.query(query)
    world.forget("a")
    assert world.repair().finding.same
    (after,) = world.query(query)
    assert after[:-1] == before[:-1]
    assert after[-1] > before[-1]


def test_hard_ids_are_mended(world: World) -> None:
    ids = ("😀", "\uffff", "quote\"'\\", "line\nend", "a/b", "_design/x", "long" * 2_500, "gone/😀")
    world.put(*ids)
    world.load()
    world.delete("gone/😀")
    world.load()
    world.forget(*ids)
    assert world.repair().finding.same
    assert world.rows() == world.winners()


def test_many_rows_are_mended_in_several_transactions(world: World) -> None:
    ids = [f"{number:03}" for number in range(120)]
    world.put(*ids)
    result = world.repair()
    assert result.repaired == {Outcome.WRITTEN: 120}
    assert world.rows() == world.winners()


def test_what_is_the_same_is_not_touched(world: World) -> None:
    world.put("a", "b")
    world.load()
    world.forget("b")
    (before,) = world.query("select xmin::text, saved_timestamp from {} where _id = 'a'")
    world.repair()
    assert world.query("select xmin::text, saved_timestamp from {} where _id = 'a'") == [before]


def test_a_repair_touches_neither_epoch_nor_position_of_a_living_pipeline(world: World) -> None:
    with world.pipeline():
        world.put("a", "b")
        eventually(lambda: world.rows() == world.winners())
        query = "select seq, epoch from v1.couchdb_progress"
        before = world.installation.query(query)
        world.forget("a")
        assert world.repair().finding.same
        assert world.installation.query(query) == before
        world.put("c")
        eventually(lambda: world.rows() == world.winners())


def test_a_row_that_has_moved_on_is_left(world: World) -> None:
    world.put("a")
    world.load()
    body = json.dumps({"_id": "a", "_rev": "9-z", "_deleted": False, "doc": {}})
    replacements = [
        Replacement(Row("a", "9-z", body.encode()), seen)
        for seen in (None, State("9-y", False), State(world.winners()["a"][0], True))
    ]
    with sides(world.settings, world.database, writing=True) as (_couch, table):
        for one in replacements:
            assert write(table, [one]) == [Outcome.MOVED_ON]
    assert world.rows() == world.winners()


def test_the_row_is_looked_at_when_the_line_is_ours(world: World) -> None:
    """A writer that came first has not committed when the repair begins."""
    world.put("a")
    revision = world.winners()["a"][0]
    body = json.dumps({"_id": "a", "_rev": "0-old", "_deleted": False, "doc": {}}).encode()
    outcomes: list[Outcome] = []

    def repair() -> None:
        with sides(world.settings, world.database, writing=True) as (_couch, table):
            outcomes.extend(write(table, [Replacement(Row("a", "0-old", body), None)]))

    thread = threading.Thread(target=repair, daemon=True)
    with world.installation.connected() as connection, connection, connection.cursor() as cursor:
        cursor.execute(world.sql("insert into {} (_id, _rev) values ('a', %s)"), (revision,))
        thread.start()
        eventually(lambda: world.installation.value(
            "select count(*) from pg_locks where not granted"
        ) > 0)  # fmt: skip
    thread.join(PATIENCE)
    assert outcomes == [Outcome.MOVED_ON]
    assert world.query("select _rev from {}") == [(revision,)]


def test_what_postgresql_refuses_becomes_a_dead_letter_and_the_rest_is_mended(world: World) -> None:
    world.put("good 1", "good 2")
    rev = world.put("bad", refused=True)["bad"]
    world.query("alter table {} add check (not doc ? 'refused')")
    result = world.repair()
    assert result.repaired == {Outcome.WRITTEN: 2, Outcome.REFUSED: 1}
    assert found(result) == only(Kind.DEAD_LETTERED, "bad")
    assert world.letters() == [("bad", rev, "23514", None)]
    assert world.repair().repaired == {Outcome.REFUSED: 1}
    assert len(world.letters()) == 1


def test_a_letter_of_the_pipelines_is_told_and_closed_by_a_repair_that_stores(world: World) -> None:
    world.query("alter table {} add constraint no check (not doc ? 'refused')")
    rev = world.put("bad", refused=True)["bad"]
    with world.pipeline():
        eventually(lambda: world.letters() == [("bad", rev, "23514", None)])
        world.put("good")
        eventually(lambda: "good" in world.rows())
        assert found(world.verify()) == only(Kind.DEAD_LETTERED, "bad")
    world.query("alter table {} drop constraint no")
    assert world.repair().finding.same
    assert world.letters() == [("bad", rev, "23514", "stored")]


def test_an_id_that_postgresql_cannot_hold_stays_a_dead_letter(world: World) -> None:
    rev = world.put("a\0b", "a")["a\0b"]
    with world.pipeline():
        eventually(lambda: len(world.letters()) == 1 and "a" in world.rows())
    assert found(world.verify()) == only(Kind.DEAD_LETTERED, "a\0b")
    result = world.repair()
    assert result.repaired == {Outcome.REFUSED: 1}
    assert [letter[:2] for letter in world.letters()] == [("a\\u0000b", rev)]


def test_what_jsonb_cannot_hold_is_replaced_and_noted(world: World) -> None:
    world.put("a", text="before\0after")
    assert world.repair().finding.same
    assert world.rows()["a"][2]["text"] == "before\ufffdafter"
    ((document_id, replaced, original),) = world.installation.query(
        "select doc_id, replaced, original from v1.replaced_values"
    )
    assert (document_id, replaced) == ("a", 1)
    assert json.loads(original) == world.document("a")


def test_attachments_are_stubs_as_in_the_feed(world: World) -> None:
    inline = {"note.txt": {"content_type": "text/plain", "data": "aGVsbG8="}}
    world.put("a", _attachments=inline)
    world.load()
    world.forget("a")
    assert world.repair().finding.same
    assert world.rows() == world.winners()
    assert "data" not in world.rows()["a"][2]["_attachments"]["note.txt"]


@pytest.mark.parametrize("world", ["_users"], indirect=True)
def test_a_repair_brings_no_passwords_back(world: World) -> None:
    name = "org.couchdb.user:ada"
    world.put(name, name="ada", type="user", roles=[], salt="s", derived_key="k", iterations=10)
    world.load_until(lambda: name in world.rows())
    before = world.rows()
    assert "derived_key" not in before[name][2]
    world.forget(name)
    assert world.repair().finding.same
    assert world.rows() == before


@pytest.mark.parametrize("world", ["medic-sentinel+1"], indirect=True)
def test_a_database_with_signs_in_its_name_is_verified_and_mended(world: World) -> None:
    world.put("a", "b")
    world.load()
    world.forget("b")
    assert found(world.verify()) == only(Kind.MISSING, "b")
    assert world.repair().finding.same


def test_what_a_filter_drops_is_not_brought_by_a_repair(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    shutil.copytree(render.TEMPLATES, tmp_path / "templates")
    template = tmp_path / "templates" / "pipeline.conf.j2"
    template.write_text(
        template.read_text().replace("filter {", 'filter { mutate { remove_field => ["[doc][n]"] }', 1)
    )
    monkeypatch.setattr(render, "TEMPLATES", tmp_path / "templates")
    world.put("a")
    assert world.repair().finding.same
    assert set(world.rows()["a"][2]) == {"_id", "_rev"}


def test_repairs_beside_a_loading_pipeline_and_a_writer_end_with_both_sides_equal(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Damage, edits, deletions and repairs at the same time: no row stays older than CouchDB."""
    caplog.set_level(logging.WARNING)
    dice = random.Random(3)
    ids = [f"d{number:02}" for number in range(40)]

    with world.pipeline():
        world.put(*ids)
        rounds = 0
        with edited(world, ids, dice) as writer:
            while writer.is_alive():
                world.forget(*dice.sample(ids, 3))
                world.damage("update {} set _rev = '0-damaged' where _id = any(%s)", dice.sample(ids, 3))
                world.repair(wait=0)
                rounds += 1
        assert rounds > 3
        assert world.repair().finding.same
        assert world.rows() == world.winners()
        world.put("the end")
        eventually(lambda: world.rows() == world.winners())
    assert [record for record in caplog.records if "PT409" in record.getMessage()] == []


def test_two_repairs_at_once_write_everything_once(world: World) -> None:
    world.put(*(f"{number:03}" for number in range(150)))
    results = at_once(world.repair, 2)
    assert all(result.finding.same for result in results)
    assert world.rows() == world.winners()
    assert sum(result.repaired[Outcome.WRITTEN] for result in results) == 150
