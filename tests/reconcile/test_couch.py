"""What CouchDB is asked, and what is made of its answers: its own recorded ones, and broken ones."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cht_sync.environments import Environment
from cht_sync.errors import LoginRefused, SourceError, SourceUnavailable
from cht_sync.pipeline.couchdb import login
from cht_sync.reconcile import couch as module
from cht_sync.reconcile.couch import Couch
from cht_sync.reconcile.state import State
from cht_sync.settings import Settings, load
from reconcile.scripted_couchdb import Answer, Request, ScriptedCouchdb, serving

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "contracts" / "couchdb"
recorded = pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings of CouchDB are not here")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.01)


@pytest.fixture
def couchdb() -> Iterator[ScriptedCouchdb]:
    with serving(ScriptedCouchdb()) as one:
        yield one


def settings_for(couchdb: ScriptedCouchdb, home: Path, **changes: str) -> Settings:
    environ = {"COUCHDB_HOST": "127.0.0.1", "COUCHDB_PORT": str(couchdb.port), "COUCHDB_PASSWORD": "wrong"}
    return load(Environment.LOCAL, home=home, environ={**environ, **changes}, read_file=False)


@pytest.fixture
def couch(couchdb: ScriptedCouchdb, tmp_path: Path) -> Iterator[Couch]:
    one = Couch(settings_for(couchdb, tmp_path), "medic", threading.Event())
    yield one
    one.close()


def body(number: str) -> bytes:
    (path,) = RECORDINGS.glob(f"{number}-*.json")
    found: str = json.loads(path.read_text())["response"]["body"]
    return found.encode()


def always(answer: bytes) -> Any:
    return lambda _request: (200, answer)


# Recorded answers of CouchDB 3.4.


@recorded
@pytest.mark.parametrize("number", ["033", "227", "371"])
def test_couchdb_lists_documents_in_the_order_of_bytes(
    couchdb: ScriptedCouchdb, couch: Couch, number: str
) -> None:
    couchdb.before = always(body(number))
    listed = list(couch.listed())
    rows = json.loads(body(number))["rows"]
    assert listed == [(row["id"], row["value"]["rev"]) for row in rows]
    ids = [one for one, _rev in listed]
    assert ids == sorted(ids)
    assert [one.encode() for one in ids] == sorted(one.encode() for one in ids)


@recorded
def test_recorded_states_tell_the_deleted_from_the_unknown(couchdb: ScriptedCouchdb, couch: Couch) -> None:
    couchdb.before = always(body("230"))
    assert couch.states(["b", "nope", "z"]) == {
        "b": State("1-d5bb5b461558ec5a478528f7e22367b7", False),
        "z": State("2-8f22fe2ed056d037aa81e58fd87e8eba", True),
    }


@recorded
@pytest.mark.parametrize("number", ["109", "370", "377"])
def test_recorded_changes_are_read_without_documents(
    couchdb: ScriptedCouchdb, couch: Couch, number: str
) -> None:
    couchdb.before = always(body(number))
    (page,) = couch.changes()
    rows = json.loads(body(number))["results"]
    assert [(one.id, one.state) for one in page] == [
        (row["id"], State(row["changes"][0]["rev"], row.get("deleted", False))) for row in rows
    ]


@recorded
def test_recorded_bulk_get_gives_the_document(couchdb: ScriptedCouchdb, couch: Couch) -> None:
    whole = json.loads(body("092"))["results"]

    def one_result(place: int) -> bytes:
        return json.dumps({"results": [whole[place]]}, separators=(",", ":")).encode()

    couchdb.before = always(one_result(1))
    document = couch.document("b", "3-caa94ad528b5685abbc7fcca6fbe5626")
    assert document is not None
    assert json.loads(document)["n"] == "recreated without rev"
    couchdb.before = always(one_result(3))
    assert couch.document("a", "9-zzz") is None


# Pages.


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 9])
def test_every_document_is_listed_once_however_the_pages_fall(
    couchdb: ScriptedCouchdb, couch: Couch, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    couchdb.documents = [(f"d{number}", f"1-{number}") for number in range(count)]
    couchdb.deletions = [(f"x{number}", f"2-{number}") for number in range(count)]
    assert list(couch.listed()) == couchdb.documents
    changes = [change for page in couch.changes() for change in page]
    assert [(one.id, one.state) for one in changes] == [
        *((one, State(rev, False)) for one, rev in couchdb.documents),
        *((one, State(rev, True)) for one, rev in couchdb.deletions),
    ]


def test_a_page_goes_on_where_its_first_document_was_deleted_meanwhile(
    couchdb: ScriptedCouchdb, couch: Couch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    couchdb.documents = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]

    def delete_b(request: Request) -> Answer | None:
        if request.query.get("startkey") == '"b"':
            couchdb.documents = [one for one in couchdb.documents if one[0] != "b"]
        return None

    couchdb.before = delete_b
    assert [one for one, _rev in couch.listed()] == ["a", "b", "c", "d"]


def test_ids_of_kilobytes_at_the_end_of_a_page_stay_out_of_the_url(
    couchdb: ScriptedCouchdb, couch: Couch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 4)
    long = ["😀" * 3_000 + str(number) for number in range(3)]
    couchdb.documents = [(one, "1") for one in ["a", *long, "😁", "😂"]]
    assert list(couch.listed()) == couchdb.documents
    assert max(len(json.dumps(request.query)) for request in couchdb.requests) < 8_000


def test_a_server_that_gives_the_same_page_for_ever_is_told(
    couchdb: ScriptedCouchdb, couch: Couch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 1)
    couchdb.before = always(b'{"rows":[{"id":"a","key":"a","value":{"rev":"1"}}]}')
    with pytest.raises(SourceError, match="does not go on"):
        list(couch.listed())


# Faults.


@pytest.mark.parametrize(
    "answer", [(200, b'{"rows":[{"id":"a","key":'), (500, b"{}"), (200, b"<html>{}"), (200, b'{"x":{}}')]
)
def test_a_broken_page_is_asked_for_again(couchdb: ScriptedCouchdb, couch: Couch, answer: Answer) -> None:
    couchdb.documents = [("a", "1"), ("b", "1")]
    faults = [answer, answer]
    couchdb.before = lambda _request: faults.pop() if faults else None
    assert list(couch.listed()) == couchdb.documents
    assert len(couchdb.requests) == 3


def test_a_page_that_breaks_every_time_is_an_error_in_the_end(couchdb: ScriptedCouchdb, couch: Couch) -> None:
    couchdb.before = lambda _request: (503, b'{"reason":"busy"}')
    with pytest.raises(SourceUnavailable, match="busy"):
        list(couch.listed())
    assert len(couchdb.requests) == module.TRIES


@pytest.mark.parametrize("row", ['{"key":"b","error":"timeout"}', '{"key":"other","error":"not_found"}'])
def test_a_document_that_nothing_is_said_of_is_not_taken_for_purged(
    couchdb: ScriptedCouchdb, couch: Couch, row: str
) -> None:
    couchdb.before = always(f'{{"rows":[{{"key":"a","error":"not_found"}},{row}]}}'.encode())
    with pytest.raises(SourceUnavailable, match="says nothing of 'b'"):
        couch.states(["a", "b"])


def test_ids_with_lone_surrogates_are_read(couchdb: ScriptedCouchdb, couch: Couch) -> None:
    couchdb.before = always(b'{"rows":[{"id":"\\ud800","key":"\\ud800","value":{"rev":"1-a"}}]}')
    assert list(couch.listed()) == [("\ud800", "1-a")]
    assert couch.states(["\ud800"]) == {"\ud800": State("1-a", False)}


def test_a_document_that_python_cannot_decode_is_given_as_it_is(
    couchdb: ScriptedCouchdb, couch: Couch
) -> None:
    document = b'{"_id":"a","_rev":"1-a","s":"\\ud800"}'
    couchdb.before = always(b'{"results":[{"id":"a","docs":[{"ok":' + document + b"}]}]}\n")
    assert couch.document("a", "1-a") == document


def test_a_refused_login_is_tried_once_and_then_rests_for_every_command(
    couchdb: ScriptedCouchdb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    couchdb.before = lambda _request: (401, b'{"reason":"Name or password is incorrect."}')
    settings = settings_for(couchdb, tmp_path)
    for _command in range(3):
        monkeypatch.setattr(login, "_gates", {})  # each command is a process of its own
        with pytest.raises(LoginRefused):
            Couch(settings, "medic", threading.Event()).count()
    assert len(couchdb.requests) == 1
    couchdb.before = lambda _request: None
    corrected = settings_for(couchdb, tmp_path, COUCHDB_PASSWORD="right")
    monkeypatch.setattr(login, "_gates", {})
    assert Couch(corrected, "medic", threading.Event()).count() == 0


def test_a_missing_database_is_told_at_once(couchdb: ScriptedCouchdb, couch: Couch) -> None:
    couchdb.before = lambda _request: (404, b'{"reason":"Database does not exist."}')
    with pytest.raises(SourceUnavailable, match="does not exist"):
        couch.count()
    assert len(couchdb.requests) == 1
