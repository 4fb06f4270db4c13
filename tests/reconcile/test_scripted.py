"""Verify and repair against a CouchDB that does what real ones do rarely, or only Apache's does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from warehouse.served import Served

from cht_sync.errors import ChtSyncError, SourceUnavailable
from cht_sync.reconcile import couch as couch_module
from cht_sync.reconcile.state import Kind
from cht_sync.reconcile.writing import Outcome
from reconcile.scripted_couchdb import Answer, Request, ScriptedCouchdb, serving
from reconcile.world import Place, World, found, only, world_of


@pytest.fixture
def couchdb() -> Iterator[ScriptedCouchdb]:
    with serving(ScriptedCouchdb()) as one:
        yield one


@pytest.fixture
def world(
    couchdb: ScriptedCouchdb, warehouse: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    """Its name is one that only Apache CouchDB allows."""
    monkeypatch.setattr(couch_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(couch_module, "LONGEST_PAUSE", 0.01)
    place = Place("127.0.0.1", couchdb.port, "medic", "secret")
    return world_of(warehouse, place, ["team/a-b_(c)$+d"], tmp_path)


def test_a_database_with_every_sign_in_its_name_is_verified_and_mended(
    couchdb: ScriptedCouchdb, world: World
) -> None:
    couchdb.documents, couchdb.deletions = [("a", "1-a"), ("b", "1-b")], [("c", "2-c")]
    assert found(world.verify()) == only(Kind.MISSING, "a", "b", "c")
    assert world.repair().finding.same
    assert world.rows() == {
        "a": ("1-a", False, {"_id": "a", "_rev": "1-a"}),
        "b": ("1-b", False, {"_id": "b", "_rev": "1-b"}),
        "c": ("2-c", True, {"_id": "c", "_rev": "2-c", "_deleted": True}),
    }
    assert world.query("select distinct source from {}") == [("127.0.0.1/team/a-b_(c)$+d",)]
    assert {request.database for request in couchdb.requests if request.database} == {
        "team%2Fa-b_%28c%29%24%2Bd"
    }


def test_a_purged_document_is_extra_and_then_a_tombstone(couchdb: ScriptedCouchdb, world: World) -> None:
    couchdb.documents = [("a", "1-a"), ("b", "1-b")]
    world.repair()
    couchdb.documents.pop()
    assert found(world.verify()) == only(Kind.EXTRA, "b")
    assert world.repair().finding.same
    assert world.rows()["b"] == ("1-b", True, {"_id": "b", "_rev": "1-b", "_deleted": True})


def test_rows_of_another_server_are_compared_but_not_mended(couchdb: ScriptedCouchdb, world: World) -> None:
    """An empty server in the place of the right one must not turn every row into a tombstone."""
    couchdb.documents = [("a", "1-a"), ("b", "1-b")]
    world.repair()
    world.installation.query(
        "insert into v1.couchdb_progress "
        "(source, database, updated_at, held_until, epoch, batch, server_uuid) "
        "values (%s, %s, now(), now(), 1, 1, 'this one')",
        f"127.0.0.1/{world.database}",
        world.database,
    )
    assert world.repair().finding.same
    couchdb.documents, couchdb.uuid = [], "another"
    result = world.verify()
    assert found(result) == only(Kind.EXTRA, "a", "b")
    assert "another server" in str(result.finding.problem)
    with pytest.raises(ChtSyncError, match="nothing is written: this CouchDB is another server") as raised:
        world.repair()
    assert "accept-server" in str(raised.value.hint)
    assert [deleted for _rev, deleted, _doc in world.rows().values()] == [False, False]


def test_what_couchdb_fails_to_tell_is_never_made_a_tombstone(couchdb: ScriptedCouchdb, world: World) -> None:
    couchdb.documents = [("a", "1-a"), ("b", "1-b")]
    world.repair()
    before = world.rows()
    couchdb.documents.pop()

    def unable(request: Request) -> Answer | None:
        if request.body is None:
            return None
        return 200, json.dumps(
            {"rows": [{"key": one, "error": "timeout"} for one in request.body["keys"]]}
        ).encode()

    couchdb.before = unable
    with pytest.raises(SourceUnavailable, match="says nothing of 'b'"):
        world.repair()
    assert world.rows() == before


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (b'{"_id":"a","_rev":"1-a","s":"\\ud800 \\u0000"}', {"s": "\ufffd \ufffd"}),
        (b'{"_id":"a","_rev":"1-a","s":"\xff"}', {"s": "\ufffd"}),
        (b'{"_id":"a","_rev":"1-a","n":1e400,"m":1.10}', {"n": 10**400, "m": 1.1}),
    ],
)
def test_a_document_that_jsonb_cannot_hold_is_stored_as_the_pipeline_stores_it(
    couchdb: ScriptedCouchdb, world: World, given: bytes, stored: dict[str, Any]
) -> None:
    couchdb.documents = [("a", "1-a")]
    couchdb.before = lambda request: (
        (200, b'{"results":[{"id":"a","docs":[{"ok":' + given + b"}]}]}\n")
        if request.path == "_bulk_get"
        else None
    )
    assert world.repair().finding.same
    ((text,),) = world.query("select (doc - '_id' - '_rev')::text from {}")
    assert json.loads(text) == stored


def test_what_is_no_document_becomes_a_dead_letter(couchdb: ScriptedCouchdb, world: World) -> None:
    couchdb.documents = [("a", "1-a"), ("b", "1-b")]

    def no_object(request: Request) -> Answer | None:
        if request.path != "_bulk_get" or request.body["docs"][0]["id"] != "a":
            return None
        return 200, b'{"results":[{"id":"a","docs":[{"ok":[]}]}]}'

    couchdb.before = no_object
    result = world.repair()
    assert result.repaired == {Outcome.REFUSED: 1, Outcome.WRITTEN: 1}
    assert found(result) == only(Kind.DEAD_LETTERED, "a")


def test_a_revision_that_is_gone_when_it_is_fetched_is_left(couchdb: ScriptedCouchdb, world: World) -> None:
    couchdb.documents = [("a", "1-a")]

    def edited_before(request: Request) -> Answer | None:
        if request.path == "_bulk_get":
            couchdb.documents = [("a", "2-a")]
        return None

    couchdb.before = edited_before
    result = world.repair()
    assert result.repaired == {Outcome.MOVED_ON: 1}
    assert found(result) == only(Kind.MISSING, "a")
    assert world.repair().finding.same
    assert world.rows()["a"][0] == "2-a"


def test_long_documents_are_written_in_parts(
    couchdb: ScriptedCouchdb, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cht_sync.reconcile.repair.MOST_BYTES", 1_000)
    couchdb.documents = [(f"d{number}", "1-x") for number in range(10)]
    couchdb.bodies = {one: {"text": "x" * 600} for one, _rev in couchdb.documents}
    assert world.repair().repaired == {Outcome.WRITTEN: 10}
    assert world.query("select count(distinct saved_timestamp) from {}") == [(5,)]


def test_a_resync_asks_for_each_document_that_the_feed_leaves_out(
    couchdb: ScriptedCouchdb, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couch_module, "DOCUMENTS_PAGE", 2)
    couchdb.documents, couchdb.deletions = [("a", "1-a"), ("b", "1-b"), ("c", "1-c")], [("d", "2-d")]
    world.repair()
    right = world.rows()
    world.damage("update {} set doc = '{{}}' where _id in ('c', 'd')")
    answer = world.run("resync", world.database)
    assert answer.stdout == f"{world.database}: 2 of 4 documents written anew, 2 the same\n"
    assert world.rows() == right


def test_a_resync_writes_nothing_from_another_server_than_that_of_the_rows(
    couchdb: ScriptedCouchdb, world: World
) -> None:
    couchdb.documents = [("a", "1-a")]
    world.repair()
    world.query(
        "insert into v1.couchdb_progress "
        "(source, database, updated_at, held_until, epoch, batch, server_uuid) "
        "select source, %s, now(), now(), 1, 1, 'another one' from {} limit 1",
        world.database,
    )
    couchdb.documents = []
    for words in ((), ("--doc", "a")):
        answer = world.run("resync", world.database, *words)
        assert answer.exit_code == 1
        assert "nothing is written: this CouchDB is another server" in answer.stderr
    assert not world.rows()["a"][1]
