"""The thread that reads a feed: from a real server, and from one that does what it must not."""

from __future__ import annotations

import json
import logging
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from loopback_server import LoopbackServer, serving

from cht_sync.errors import LoginRefused, SourceError
from cht_sync.pipeline.couchdb import gatherer, login, reader
from cht_sync.pipeline.couchdb.client import CouchdbClient, Server
from cht_sync.pipeline.couchdb.events import EventShape, event_maker
from cht_sync.pipeline.couchdb.handoff import Gathered, Handoff
from cht_sync.pipeline.couchdb.identity import Identity
from cht_sync.pipeline.couchdb.login import LoginGate
from cht_sync.pipeline.couchdb.reader import ChangesReader, Pace
from cht_sync.pipeline.event import Event

PATIENCE = 20.0
NEVER = threading.Event()


class Reading:
    """A reader with its hand-off, and what was taken from it."""

    def __init__(
        self,
        address: str,
        database: str,
        *,
        user: str = "",
        password: str = "",
        since: str = "0",
        page: int = 1000,
        heartbeat: float = 1.0,
        gate: LoginGate | None = None,
        most_bytes: int = 1 << 25,
        known: Identity | None = None,
    ) -> None:
        self.handoff = Handoff(page, most_bytes)
        self.gate = gate or LoginGate(user)
        self.reader = ChangesReader(
            CouchdbClient(Server(address, database, user, password), self.gate),
            self.handoff,
            event_maker(EventShape(database, True, True, True), lambda _event: None),
            source=f"couch/{database}",
            since=since,
            pace=Pace(page, heartbeat, 0.2),
            known=known,
        )
        self.batches: list[Gathered] = []
        self.reader.start()

    def take(self) -> Gathered:
        batch = self.handoff.take(PATIENCE)
        assert batch is not None
        assert len(batch) or batch.position, "nothing came in time"
        self.batches.append(batch)
        return batch

    def until(self, true: Callable[[], bool]) -> None:
        while not true():
            self.take()

    @property
    def revisions(self) -> dict[str, str]:
        """The last revision of each document, as a table would hold it."""
        return {id: event.get("[doc][_rev]") for batch in self.batches for id, event in batch.events.items()}

    @property
    def sequence(self) -> str:
        return next(batch.position.sequence for batch in reversed(self.batches) if batch.position)

    def close(self) -> None:
        self.handoff.close()
        self.reader.close()
        self.reader.join(PATIENCE)
        assert not self.reader.is_alive()


@contextmanager
def reading(address: str, database: str, **options: Any) -> Iterator[Reading]:
    one = Reading(address, database, **options)
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def real(couchdb_server: Any, couchdb_database: str) -> Callable[..., Any]:
    def start(**options: Any) -> Any:
        login = {"user": couchdb_server.user, "password": couchdb_server.password}
        return reading(couchdb_server.url, couchdb_database, **{**login, **options})

    return start


@pytest.fixture
def write(couchdb_server: Any, couchdb_database: str) -> Iterator[Callable[..., None]]:
    client = couchdb_server.client()

    def write(*documents: dict[str, Any]) -> None:
        assert client.write(couchdb_database, documents) == {document["_id"] for document in documents}

    write.states = lambda ids: {  # type: ignore[attr-defined]
        id: state.revision for id, state in client.states(couchdb_database, ids).items()
    }
    yield write
    client.close()


def test_a_backlog_comes_in_pages_and_then_the_live_feed(real: Any, write: Any) -> None:
    ids = [f"d{n}" for n in range(25)]
    write(*[{"_id": id, "n": n} for n, id in enumerate(ids)])
    with real(page=10) as one:
        one.until(lambda: len(one.revisions) == 25)
        assert max(len(batch) for batch in one.batches) <= 10
        assert one.reader.live.wait(PATIENCE)
        write({"_id": "late"})
        one.until(lambda: "late" in one.revisions)
        assert one.revisions == write.states([*ids, "late"])


def test_reading_goes_on_after_the_position(real: Any, write: Any) -> None:
    write({"_id": "before"})
    with real() as one:
        one.until(lambda: "before" in one.revisions)
        position = one.sequence
    write({"_id": "after"})
    with real(since=position) as one:
        one.until(lambda: "after" in one.revisions)
        assert set(one.revisions) == {"after"}


def test_a_deletion_comes_with_its_document(real: Any, write: Any) -> None:
    write({"_id": "a", "n": 1})
    revision = write.states(["a"])["a"]
    with real() as one:
        one.until(lambda: "a" in one.revisions)
        write({"_id": "a", "_rev": revision, "_deleted": True, "reason": "moved"})
        one.until(lambda: one.revisions["a"] != revision)
        event: Event = one.batches[-1].events["a"]
        assert event.metadata["action"] == "delete"
        assert event.get("[doc][reason]") == "moved"


def test_a_server_that_goes_and_comes_back_is_followed_again(
    real: Any, write: Any, couchdb_server: Any
) -> None:
    write({"_id": "before"})
    with real() as one:
        one.until(lambda: "before" in one.revisions)
        assert one.reader.live.wait(PATIENCE)
        couchdb_server.node.stop()
        couchdb_server.node.start()
        write({"_id": "after"})
        one.until(lambda: "after" in one.revisions)


def test_a_stop_does_not_wait_for_the_next_heartbeat(real: Any) -> None:
    with real(heartbeat=60.0) as one:
        one.take()
        assert one.reader.live.wait(PATIENCE)


def test_a_database_that_is_missing_is_waited_for(couchdb_server: Any) -> None:
    client = couchdb_server.client()
    login = {"user": couchdb_server.user, "password": couchdb_server.password}
    name = "missing_then_there"
    with reading(couchdb_server.url, name, **login) as one:
        client.create_database(name)
        try:
            client.write(name, [{"_id": "a"}])
            one.until(lambda: "a" in one.revisions)
        finally:
            client.delete_database(name)
            client.close()


# A server by script.

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def do_GET(self) -> None:
        self.close_connection = True
        self.query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        with self.server.asked:
            self.server.requests.append(self.path)
            number = len(self.server.requests)
            self.server.asked.notify_all()
        self.server.answer(self, number)

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, body: bytes, status: int = 200, *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def stay_open(self, body: bytes = b"") -> None:
        """A live feed: it begins, and ends with the test."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        self.server.over.wait(PATIENCE)

    @property
    def is_live(self) -> bool:
        return self.query.get("feed") == "continuous"


class Scripted(LoopbackServer):
    def __init__(self, answer: Callable[[Handler, int], None]) -> None:
        super().__init__(Handler)
        self.answer = answer
        self.requests: list[str] = []
        self.asked = threading.Condition()

    def wait_for_requests(self, count: int) -> None:
        with self.asked:
            assert self.asked.wait_for(lambda: len(self.requests) >= count, PATIENCE)


def scripted(answer: Callable[[Handler, int], None]) -> AbstractContextManager[Scripted]:
    return serving(Scripted(answer))


def change(number: int, document: dict[str, Any] | None = None, *, id: str | None = None) -> bytes:
    id = id or f"d{number}"
    revision = f"1-{number}"
    body = {"_id": id, "_rev": revision, **(document or {})}
    text = {"seq": f"{number}-x", "id": id, "changes": [{"rev": revision}], "doc": body}
    return json.dumps(text, separators=(",", ":")).encode()


def page(*rows: bytes, last: str = "9-x", pending: int = 0) -> bytes:
    end = f'],\n"last_seq":"{last}","pending":{pending}}}\n'.encode()
    return b'{"results":[\n' + b",\n".join(rows) + b"\n" + end


def test_a_page_cut_off_in_a_line_keeps_the_rows_before_and_is_asked_for_after_them() -> None:
    def answer(handler: Handler, number: int) -> None:
        if number == 1:
            text = page(change(1), change(2), change(3))
            handler.answer(text[: text.index(b'"seq":"3-x"') + 20], length=len(text))
        elif handler.is_live:
            handler.stay_open()
        else:
            handler.answer(page(change(3), last="3-x"))

    with scripted(answer) as server, reading(server.url, "medic") as one:
        one.until(lambda: len(one.revisions) == 3)
        assert "since=2-x" in server.requests[1]
        assert one.sequence == "3-x"


def test_a_live_feed_cut_off_in_a_line_is_read_on_after_the_last_whole_row() -> None:
    def answer(handler: Handler, number: int) -> None:
        if not handler.is_live:
            done = handler.query["since"] != "0"
            handler.answer(page(*([change(2)] if done else []), last="2-x" if done else "0"))
        elif number == 2:
            handler.answer(change(1) + b"\n" + change(2)[:30], length=10_000)
        else:
            handler.stay_open()

    with scripted(answer) as server, reading(server.url, "medic") as one:
        one.until(lambda: len(one.revisions) == 2)
        assert "since=1-x" in server.requests[2]


def test_a_second_answer_inside_the_live_feed_is_an_outage() -> None:
    """CouchDB writes a complete 500 into the chunked stream when it fails after the 200."""

    def answer(handler: Handler, number: int) -> None:
        if number == 2:
            row = change(1) + b"\n"
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(row), row))
            handler.wfile.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}")
            handler.wfile.flush()
            handler.server.over.wait(PATIENCE)
        elif handler.is_live:
            handler.stay_open()
        else:
            handler.answer(page(last=handler.query["since"]))

    with scripted(answer) as server, reading(server.url, "medic") as one:
        server.wait_for_requests(4)
        one.until(lambda: "d1" in one.revisions)
        assert "since=1-x" in server.requests[2]


def test_a_proxys_page_with_status_200_is_an_outage() -> None:
    def answer(handler: Handler, number: int) -> None:
        if number < 3:
            handler.answer(b"<html>Please sign in</html>")
        elif handler.is_live:
            handler.stay_open()
        else:
            handler.answer(page(change(1)))

    with scripted(answer) as server, reading(server.url, "medic") as one:
        one.until(lambda: "d1" in one.revisions)
        assert all("since=0" in request for request in server.requests[:3])


def test_a_server_that_ends_every_feed_at_once_is_not_hammered(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def answer(handler: Handler, _number: int) -> None:
        handler.answer(b'{"last_seq":"9-x","pending":0}\n' if handler.is_live else page())

    with scripted(answer) as server, reading(server.url, "medic") as one:
        wait = one.reader._stop_reading.wait

        def counted(seconds: float | None = None) -> bool:
            pauses.append(seconds or 0)
            return wait(0.001)

        monkeypatch.setattr(one.reader._stop_reading, "wait", counted)
        server.wait_for_requests(20)
    live = [request for request in server.requests if "continuous" in request]
    assert len(pauses) >= len(live) - 2
    assert set(pauses) == {reader.PAUSE_AFTER_END}


def test_a_server_that_ends_every_feed_at_once_is_asked_who_it_is_no_more_often_than_for_feeds() -> None:
    def answer(handler: Handler, _number: int) -> None:
        if "_changes" not in handler.path:
            handler.answer(b"{}")
        else:
            handler.answer(b'{"last_seq":"9-x","pending":0}\n' if handler.is_live else page())

    with scripted(answer) as server, reading(server.url, "medic", known=Identity()) as one:
        server.wait_for_requests(24)
        one.close()
    looks = server.requests.count("/")
    feeds = len([request for request in server.requests if "continuous" in request])
    assert looks <= 2 * feeds + 2


def test_a_database_made_anew_under_the_live_feed_is_read_from_its_start(
    couchdb_server: Any, couchdb_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = couchdb_server.client()
    client.write(couchdb_database, [{"_id": "old 1"}, {"_id": "old 2"}])
    login = {"user": couchdb_server.user, "password": couchdb_server.password}
    with (
        caplog.at_level(logging.INFO),
        reading(couchdb_server.url, couchdb_database, known=Identity(), **login) as one,
    ):
        one.until(lambda: len(one.revisions) == 2)
        assert one.reader.live.wait(PATIENCE)
        client.delete_database(couchdb_database)
        client.create_database(couchdb_database)
        client.write(couchdb_database, [{"_id": "new"}])
        one.until(lambda: "new" in one.revisions)
    first, last = (batch.position for batch in (one.batches[0], one.batches[-1]))
    assert first is not None
    assert last is not None
    assert first.server_uuid == last.server_uuid
    assert None is not first.instance_start_time != last.instance_start_time is not None
    assert [record.levelname for record in caplog.records if "made anew" in record.message] == ["ERROR"]
    client.close()


def test_a_long_page_is_handed_over_in_parts_without_losing_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "ROWS_BEFORE_HAND_OVER", 100_000)
    rows = [change(n, {"text": "x" * 5_000}) for n in range(400)]

    def answer(handler: Handler, number: int) -> None:
        if handler.is_live:
            handler.stay_open()
        else:
            handler.answer(page(*(rows if number == 1 else ()), last="400-x"))

    with scripted(answer) as server, reading(server.url, "medic", most_bytes=400_000) as one:
        one.until(lambda: len(one.revisions) == 400)
        assert len(one.batches) > 2
        # The last portion, with the end of the page, may come together with earlier ones, or after them.
        while one.sequence != "400-x":
            one.take()
        assert server.requests[1:2] == [] or "since=400-x" in server.requests[1]


def test_a_row_without_document_is_fetched_by_its_id() -> None:
    def answer(handler: Handler, number: int) -> None:
        row = b'{"seq":"1-x","id":"a/b","changes":[{"rev":"1-a"}],"doc":null}'
        if "_changes" not in handler.path:
            handler.answer(b'{"_id":"a/b","_rev":"1-a"}')
        elif handler.is_live:
            handler.stay_open()
        else:
            handler.answer(page(row))

    with scripted(answer) as server, reading(server.url, "medic") as one:
        one.until(lambda: "a/b" in one.revisions)
        assert server.requests[1] == "/medic/a%2Fb?rev=1-a"


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (400, 1), (500, gatherer.FETCHES)])
def test_a_document_that_cannot_be_fetched_becomes_a_dead_letter_and_holds_up_nothing(
    status: int, asked: int
) -> None:
    def answer(handler: Handler, _number: int) -> None:
        row = b'{"seq":"1-x","id":"a","changes":[{"rev":"1-a"}],"doc":null}'
        if "_changes" not in handler.path:
            handler.answer(b'{"error":"x","reason":"x"}', status)
        elif handler.is_live:
            handler.stay_open()
        else:
            handler.answer(page(row, change(2)))

    with scripted(answer) as server, reading(server.url, "medic") as one:
        one.until(lambda: "d2" in one.revisions)
        (rejected,) = [letter for batch in one.batches for letter in batch.rejected]
        assert (rejected.document_id, rejected.revision, rejected.sequence) == ("a", "1-a", "1-x")
        assert rejected.code == "no_document"
        assert len([path for path in server.requests if "_changes" not in path]) == asked


def test_a_line_that_is_no_json_becomes_a_dead_letter_and_holds_up_nothing() -> None:
    def answer(handler: Handler, number: int) -> None:
        if handler.is_live:
            handler.stay_open()
        else:
            handler.answer(page(b'{"seq":"1-x","id":}', change(2)))

    with scripted(answer) as server, reading(server.url, "medic") as one:
        one.until(lambda: "d2" in one.revisions)
        (rejected,) = [letter for batch in one.batches for letter in batch.rejected]
        assert rejected.document == '{"seq":"1-x","id":}'


def test_a_line_that_was_damaged_on_the_way_is_asked_for_again_and_is_no_dead_letter() -> None:
    def answer(handler: Handler, number: int) -> None:
        if handler.is_live:
            handler.stay_open()
        elif number == 1:
            handler.answer(page(change(1), change(2)[:-5] + b"\xff\x07", change(3)))
        else:
            handler.answer(page(change(2), change(3)))

    with scripted(answer) as server, reading(server.url, "medic") as one:
        one.until(lambda: "d3" in one.revisions)
        assert one.revisions.keys() >= {"d1", "d2", "d3"}
        assert [letter for batch in one.batches for letter in batch.rejected] == []
        assert any("since=1" in path for path in server.requests)


def test_a_refused_position_is_told_to_who_takes() -> None:
    with (
        scripted(lambda handler, _: handler.answer(b'{"reason":"malformed sequence"}', 400)) as server,
        reading(server.url, "medic", since="rubbish") as one,
        pytest.raises(SourceError, match="malformed sequence"),
    ):
        one.take()


def test_an_error_that_nobody_foresaw_is_told_to_who_takes() -> None:
    def explode(*_: object) -> Event:
        raise KeyError("unforeseen")

    ready = threading.Event()

    def answer(handler: Handler, _number: int) -> None:
        ready.wait(PATIENCE)
        handler.answer(page(change(1)))

    with scripted(answer) as server:
        one = Reading(server.url, "medic")
        one.reader._gatherer._make_event = explode
        ready.set()
        with pytest.raises(KeyError):
            while True:
                one.take()
        one.close()


@pytest.mark.parametrize("known", [None, Identity()])
def test_a_wrong_password_is_tried_once_however_many_readers_there_are(known: Identity | None) -> None:
    """CouchDB locks the account after six; also where the first question is for the database's identity."""
    refusal = b'{"error":"unauthorized","reason":"Name or password is incorrect."}'
    gate = LoginGate("medic")
    paused = threading.Semaphore(0)

    original = ChangesReader._pause

    def pause(self: ChangesReader, failure: SourceError, seconds: float) -> None:
        assert isinstance(failure, LoginRefused)
        assert 0 < seconds <= login.PAUSE
        paused.release()
        original(self, failure, seconds)

    with (
        scripted(lambda handler, _: handler.answer(refusal, 401)) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(ChangesReader, "_pause", pause)
        login_of_all: dict[str, Any] = {"user": "medic", "password": "wrong", "gate": gate, "known": known}
        readers = [Reading(server.url, f"db{n}", **login_of_all) for n in range(8)]
        for _ in readers:
            assert paused.acquire(timeout=PATIENCE)
        for one in readers:
            one.close()
        assert len(server.requests) == 1


def test_after_a_lost_connection_one_reader_tries_the_login_first() -> None:
    gate = LoginGate("medic")
    with gate.attempt(NEVER) as verdict:
        verdict(200, "")
    gate.doubt()
    with gate.attempt(NEVER) as verdict, pytest.raises(LoginRefused):
        verdict(401, "Name or password is incorrect.")
    with pytest.raises(LoginRefused, match="rests"), gate.attempt(NEVER):
        pytest.fail("the login was tried again")


def test_a_database_that_is_closed_to_the_login_pauses_no_other() -> None:
    refusal = b'{"error":"forbidden","reason":"You are not allowed to access this db."}'

    def answer(handler: Handler, _number: int) -> None:
        if "closed" in handler.path:
            handler.answer(refusal, 403)
        elif handler.is_live:
            handler.stay_open()
        else:
            handler.answer(page(change(1)))

    gate = LoginGate("medic")
    with scripted(answer) as server, reading(server.url, "closed", user="medic", gate=gate):
        server.wait_for_requests(1)
        with reading(server.url, "open", user="medic", gate=gate) as one:
            one.until(lambda: "d1" in one.revisions)


def test_a_password_goes_to_the_server_as_utf_8() -> None:
    seen: list[str | None] = []

    def answer(handler: Handler, _number: int) -> None:
        seen.append(handler.headers["Authorization"])
        handler.answer(page(change(1)))

    with scripted(answer) as server, reading(server.url, "medic", user="ž", password="漢:x") as one:
        one.take()
    assert seen[0] == "Basic " + b64encode("ž:漢:x".encode()).decode()


# The hand-off.


def portion(*ids: str, size: int = 1) -> Gathered:
    gathered = Gathered()
    for id in ids:
        gathered.add(id, Event({"id": id}), size)
    return gathered


def test_a_full_place_makes_the_reader_wait_and_a_free_one_lets_it_go_on() -> None:
    handoff = Handoff(most_events=2, most_bytes=100)
    assert handoff.put(portion("a", "b")) is False
    behind: list[bool] = []
    thread = threading.Thread(target=lambda: behind.append(handoff.put(portion("c"))), daemon=True)
    thread.start()
    taken = handoff.take(PATIENCE)
    assert taken is not None
    assert set(taken.events) in ({"a", "b"},)
    thread.join(PATIENCE)
    rest = handoff.take(PATIENCE)
    assert rest is not None
    assert list(rest.events) == ["c"]


def test_bytes_bound_the_place_too() -> None:
    handoff = Handoff(most_events=100, most_bytes=100)
    handoff.put(portion("a", size=90))
    assert not handoff._has_room(portion("b", size=20))
    assert handoff._has_room(portion("b", size=10))


def test_only_the_last_change_of_a_document_is_in_a_batch_at_its_place() -> None:
    handoff = Handoff(100, 100)
    handoff.put(portion("a", "b"))
    later = portion("a")
    handoff.put(later)
    taken = handoff.take(PATIENCE)
    assert taken is not None
    assert list(taken.events) == ["b", "a"]
    assert taken.events["a"] is later.events["a"]


def test_a_taker_that_waits_goes_on_when_the_place_is_closed() -> None:
    handoff = Handoff(100, 100)
    taken: list[Gathered | None] = []
    thread = threading.Thread(target=lambda: taken.append(handoff.take(3600)), daemon=True)
    thread.start()
    handoff.close()
    thread.join(PATIENCE)
    assert taken == [None]


def test_a_reader_that_waits_goes_on_when_the_place_is_closed() -> None:
    handoff = Handoff(1, 100)
    handoff.put(portion("a"))
    thread = threading.Thread(target=lambda: handoff.put(portion("b")), daemon=True)
    thread.start()
    handoff.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert handoff.take(0) is None


def test_what_came_before_a_failure_is_taken_first() -> None:
    handoff = Handoff(100, 100)
    handoff.put(portion("a"))
    handoff.fail(SourceError("broken"))
    assert handoff.take(PATIENCE) is not None
    with pytest.raises(SourceError, match="broken"):
        handoff.take(PATIENCE)
