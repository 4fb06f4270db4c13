"""What is known of a server and a database, from answers as CouchDB and others were recorded to give."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_couchdb import FakeCouchdb, fake_couchdb

from cht_sync.errors import LoginRefused, SourceError, SourceUnavailable
from cht_sync.pipeline.couchdb.client import CouchdbClient, Server
from cht_sync.pipeline.couchdb.identity import Identity, identity
from cht_sync.pipeline.couchdb.login import LoginGate
from cht_sync.pipeline.couchdb.missing import missing_documents

RECORDINGS = Path(__file__).parents[3] / "shared" / "contracts" / "couchdb"
NEVER = threading.Event()
UUID = "22a0658a998a8561c08505291746576d"


def recorded(name: str) -> dict[str, Any]:
    file = RECORDINGS / f"{name}.json"
    if not file.exists():
        pytest.skip(f"needs the recorded exchanges in {RECORDINGS}")
    exchange: dict[str, Any] = json.loads(file.read_text())
    return exchange


def answer(name: str) -> bytes:
    body: str = recorded(name)["response"]["body"]
    return body.encode()


def welcome(**changed: Any) -> bytes:
    """CouchDB 3.4.3's, with something changed."""
    usual = {
        "couchdb": "Welcome",
        "version": "3.4.3",
        "uuid": UUID,
        "vendor": {"name": "The Apache Software Foundation"},
    }
    return json.dumps(
        {name: value for name, value in (usual | changed).items() if value is not None}
    ).encode()


def test_couchdb_3_4_tells_its_uuid_and_when_a_database_was_created() -> None:
    assert identity(answer("000-root"), answer("017-db-info-empty")) == Identity(UUID, "1795318794")


def test_a_database_keeps_its_creation_whatever_is_written_and_purged() -> None:
    assert identity(answer("000-root"), answer("374-db-info-after-purge")).instance_start_time == "1795318869"


@pytest.mark.parametrize(
    ("server", "born", "known"),
    [
        (welcome(version="3.3.3"), "1795318794", Identity(UUID, None)),
        (welcome(version="1.7.1"), "1795318794000000", Identity(UUID, None)),
        (welcome(version="3.4.0"), "1795318794", Identity(UUID, "1795318794")),
        (welcome(version="3.10.1"), "1795318794", Identity(UUID, "1795318794")),
        (welcome(version="4.0.0-beta"), "1795318794", Identity(UUID, "1795318794")),
        (welcome(version="3.4.3-1~bookworm"), "1795318794", Identity(UUID, "1795318794")),
        (welcome(version="nightly"), "1795318794", Identity(UUID, None)),
        (welcome(), "0", Identity(UUID, None)),
        (welcome(), "", Identity(UUID, None)),
        (welcome(uuid=None), "1795318794", Identity(None, "1795318794")),
        (welcome(uuid=""), "1795318794", Identity(None, "1795318794")),
        (welcome(vendor=None), "1795318794", Identity(UUID, None)),
        (welcome(couchdb=None, vendor={"name": "PouchDB authors"}), "1795318794", Identity(UUID, None)),
        (b'{"express-pouchdb":"Welcome!","version":"4.2.0"}', "1795318794", Identity()),
        (b"<html>Welcome</html>", "1795318794", Identity()),
        (b"[]", "1795318794", Identity()),
        (b'{"error":"not_found","reason":"missing"}', "1795318794", Identity()),
        (b"", "1795318794", Identity()),
    ],
)
def test_only_what_a_server_is_known_to_mean_is_believed(server: bytes, born: str, known: Identity) -> None:
    assert identity(server, json.dumps({"instance_start_time": born, "db_name": "medic"}).encode()) == known


@pytest.mark.parametrize("information", [b"<html>", b"[]", b'{"instance_start_time":17}'])
def test_an_answer_that_is_no_database_information_tells_nothing(information: bytes) -> None:
    assert identity(welcome(), information) == Identity()


def test_what_is_not_known_is_no_difference() -> None:
    known = Identity("a", "1")
    for found in (Identity(), Identity("a"), Identity(None, "1"), known):
        assert not known.is_another_server(found)
        assert not known.is_another_instance(found)
        assert not found.is_another_server(known)
        assert known.completed_by(found) == known
        assert found.completed_by(known) == known


def test_another_uuid_and_another_creation_are_differences() -> None:
    assert Identity("a", "1").is_another_server(Identity("b", "1"))
    assert Identity("a", "1").is_another_instance(Identity("a", "2"))
    assert Identity("a", "1").completed_by(Identity("a", "2")) == Identity("a", "2")


# Over HTTP.


def client(server: FakeCouchdb, path: str = "medic", gate: LoginGate | None = None) -> CouchdbClient:
    return CouchdbClient(
        Server(f"http://127.0.0.1:{server.port}", path, "medic", "x"), gate or LoginGate("medic")
    )


def test_the_root_is_asked_below_the_path_of_a_proxy() -> None:
    with fake_couchdb() as server:
        server.prefix = "/couch"
        one = client(server, "couch/medic")
        born = server.databases["medic"].instance_start_time
        assert one.identity(NEVER) == Identity(UUID, born)
        assert server.requests == ["GET /couch/medic", "GET /couch/"]
        one.close()


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 405])
def test_a_proxy_that_keeps_the_root_to_itself_leaves_the_identity_unknown(status: int) -> None:
    gate = LoginGate("medic")
    with fake_couchdb() as server:
        handler = server.RequestHandlerClass
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                handler, "_welcome", lambda self: self._json({"error": "no", "reason": "not here"}, status)
            )
            one = client(server, gate=gate)
            assert one.identity(NEVER) == Identity()
            assert gate.remaining_pause() == 0
            one.close()


def test_a_server_that_fails_for_the_root_is_asked_again() -> None:
    with fake_couchdb() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.RequestHandlerClass, "_welcome", lambda self: self._json({}, 503))
        one = client(server)
        with pytest.raises(SourceUnavailable, match="503"):
            one.identity(NEVER)
        one.close()


def test_a_login_that_is_refused_for_the_database_is_not_tried_for_the_root() -> None:
    gate = LoginGate("medic")
    with fake_couchdb() as server, pytest.MonkeyPatch.context() as patch:
        refusal = {"error": "unauthorized", "reason": "Name or password is incorrect."}
        patch.setattr(server.RequestHandlerClass, "_answer", lambda self, _method: refuse(self, refusal))
        one = client(server, gate=gate)
        for _try in range(3):
            with pytest.raises(LoginRefused):
                one.identity(NEVER)
        one.close()
        assert server.requests == ["/medic"]


def refuse(handler: Any, refusal: dict[str, str]) -> None:
    handler.server.requests.append(handler.path)
    handler._json(refusal, 401)


# Which documents there are.


@pytest.mark.parametrize(
    ("name", "missing"),
    [("230-all-docs-keys", {"nope"}), ("231-all-docs-keys-empty", set())],
)
def test_only_what_is_not_found_is_missing(name: str, missing: set[str]) -> None:
    """A deleted document is there: its deletion is a change of the feed."""
    exchange = recorded(name)
    keys = json.loads(exchange["request"]["body"])["keys"]
    with fake_couchdb() as server, pytest.MonkeyPatch.context() as patch:
        body = answer(name)
        patch.setattr(server.RequestHandlerClass, "_all_docs", lambda self, *_: self._send(body, 200))
        one = client(server)
        assert missing_documents(one, keys, NEVER) == missing
        one.close()


def test_the_question_for_documents_is_the_recorded_one() -> None:
    exchange = recorded("230-all-docs-keys")
    asked: list[Any] = []
    with fake_couchdb() as server, pytest.MonkeyPatch.context() as patch:
        original = server.RequestHandlerClass._all_docs  # type: ignore[attr-defined]

        def note(self: Any, database: Any, keys: list[str]) -> None:
            asked.append((self.command, self.path, self.headers["Content-Type"], keys))
            original(self, database, keys)

        patch.setattr(server.RequestHandlerClass, "_all_docs", note)
        one = client(server)
        assert missing_documents(one, ["b", "nope", "z"], NEVER) == {"b", "nope", "z"}
        one.close()
    path = exchange["request"]["path"].replace("rec_all", "medic")
    keys = json.loads(exchange["request"]["body"])["keys"]
    assert asked == [("POST", path, exchange["request"]["headers"]["Content-Type"], keys)]


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Please sign in</html>",
        b"{}",
        b'{"total_rows":0,"offset":0,"rows":[]}',
        b'{"rows":[{"key":"a","error":"not_found"}]}',
        b'{"rows":[{"key":"a","error":"not_found"},{"key":"c","error":"not_found"}]}',
    ],
)
def test_an_answer_that_leaves_a_document_out_tells_nothing(body: bytes) -> None:
    with fake_couchdb() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.RequestHandlerClass, "_all_docs", lambda self, *_: self._send(body, 200))
        one = client(server)
        with pytest.raises(SourceError):
            missing_documents(one, ["a", "b"], NEVER)
        one.close()


def test_another_error_than_not_found_is_not_missing() -> None:
    with fake_couchdb() as server, pytest.MonkeyPatch.context() as patch:
        body = b'{"rows":[{"key":"a","error":"timeout"},{"key":"b","error":"not_found"}]}'
        patch.setattr(server.RequestHandlerClass, "_all_docs", lambda self, *_: self._send(body, 200))
        one = client(server)
        assert missing_documents(one, ["a", "b"], NEVER) == {"b"}
        one.close()


# The server that plays the faults is held against the recordings too.


def shape(answer: Any) -> Any:
    """The names and kinds of what an answer has."""
    if isinstance(answer, dict):
        return {name: shape(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [shape(item) for item in answer[:1]]
    return type(answer)


def test_the_playing_server_answers_as_recorded() -> None:
    with fake_couchdb() as server:
        server.write("x")
        one = client(server)

        def same(name: str, got: bytes) -> None:
            """Every member that is there is there in the recording, of the same kind."""
            expected, found = shape(json.loads(answer(name))), shape(json.loads(got))
            assert found.items() <= expected.items()

        same("000-root", one._get("", {}, 5, NEVER).content)
        same("017-db-info-empty", one.ask("", {}, NEVER))
        gone = one._get("gone", {}, 5, NEVER).content
        assert json.loads(gone) == json.loads(answer("020-db-missing"))
        refusal = json.loads(answer("157-changes-since-garbage"))
        assert json.loads(one._get("medic/_changes", {"since": "garbage"}, 5, NEVER).content) == refusal
        old = server.databases["medic"].token(1)
        server.delete()
        server.create()
        server.write("y")
        page = json.loads(one.ask("_changes", {"since": old, "limit": "10"}, NEVER))
        assert [row["id"] for row in page["results"]] == ["y"]  # as recorded in 182: accepted, from the start
        one.close()
