"""The http output: to PostgREST with the position, and to any other server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from http_server import http_server
from loopback_server import LoopbackServer, serving
from warehouse.served import SECRET, ObservedStop, Served, served

from cht_sync.errors import ConfigError
from cht_sync.pipeline.contracts import Batch, Output, Position, PositionKeeper, Rejected
from cht_sync.pipeline.couchdb.events import EventShape, event_maker
from cht_sync.pipeline.couchdb.rows import decode_row
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.outputs.http import Options, build
from cht_sync.pipeline.plugins import Password, PluginContext

SOURCE = "couch/medic"
DEEP = b"[" * 20_000 + b"]" * 20_000
"""Deeper than PostgreSQL's stack."""


def change(document: bytes, id: str = "a", revision: str = "1-a") -> Event:
    """An event as the rendered pipeline makes it."""
    make = event_maker(EventShape("medic", True, True, True), lambda _event: None)
    text = {"seq": "5-x", "id": id, "changes": [{"rev": revision}], "doc": None}
    row = decode_row(json.dumps(text, separators=(",", ":")).encode())
    event = make(row, document)
    event.set("_id", id)
    event.set("_rev", revision)
    return event


@pytest.fixture
def warehouse(postgres_server: Any, database: str) -> Iterator[Served]:
    with served(postgres_server, database) as one:
        yield one


@pytest.fixture
def output(warehouse: Served, tmp_path: Path) -> Iterator[PositionKeeper]:
    options = Options(
        url=warehouse.table_url,
        http_method="post",
        format="json_batch",
        position_headers=True,
        jwt_secret=Password(SECRET),
        jwt_role=warehouse.role,
    )
    made = build(options, PluginContext("medic", tmp_path))
    assert isinstance(made, PositionKeeper)
    assert made.claim(SOURCE, threading.Event()) is None
    yield made
    made.close()


def write(output: PositionKeeper, *events: Event, rejected: tuple[Rejected, ...] = ()) -> None:
    assert output.write(Batch(list(events), list(rejected), Position(SOURCE, "5-x", 0)), ObservedStop())


def test_a_document_arrives_as_it_is_with_the_position(output: PositionKeeper, warehouse: Served) -> None:
    document = b'{"_id":"a","_rev":"1-a","big":12345678901234567890123,"list":[1.50,null],"t":"\xc5\xbe"}'
    write(output, change(document))
    ((id, revision, text, source),) = warehouse.installation.query(
        "select _id, _rev, doc::text, source from v1.medic"
    )
    assert (id, revision, source) == ("a", "1-a", SOURCE)
    assert json.loads(text) == json.loads(document)
    assert "12345678901234567890123" in text
    assert warehouse.installation.progress()[:2] == ("5-x", 0)


def test_nul_and_lone_surrogates_in_a_document_are_replaced(
    output: PositionKeeper, warehouse: Served
) -> None:
    write(output, change(rb'{"_id":"a","_rev":"1-a","k\u0000":"x\u0000y","s":"\ud800","t":"\\u0000"}'))
    assert warehouse.installation.value("select doc - '_id' - '_rev' from v1.medic") == {
        "k\ufffd": "x\ufffdy",
        "s": "\ufffd",
        "t": "\\u0000",
    }
    assert warehouse.letters() == []


@pytest.mark.parametrize("id", ["a\0b", "a\ud800"])
def test_an_id_that_cannot_be_stored_is_a_dead_letter_not_another_id(
    output: PositionKeeper, warehouse: Served, id: str
) -> None:
    document = json.dumps({"_id": id, "_rev": "1-a"}).encode()
    write(output, change(document, id), change(b'{"_id":"b","_rev":"1-a"}', "b"))
    assert set(warehouse.rows()) == {"b"}
    ((shown, revision, code, _),) = warehouse.letters()
    assert shown.startswith("a\\u")
    assert (revision, code) == ("1-a", "22P05")
    assert warehouse.installation.value("select seq from v1.dead_letters") == "5-x"


def test_a_poison_document_read_twice_is_one_dead_letter(output: PositionKeeper, warehouse: Served) -> None:
    for _ in range(2):
        write(output, change(b'{"_id":"a","_rev":"1-a","n":' + DEEP + b"}"), change(b"{}", "b"))
    assert set(warehouse.rows()) == {"b"}
    ((id, revision, code, _),) = warehouse.letters()
    assert (id, revision, code) == ("a", "1-a", "54001")


def test_a_document_of_five_thousand_levels_is_stored(output: PositionKeeper, warehouse: Served) -> None:
    """CouchDB takes it, PostgreSQL takes it; nothing between them may be the first that does not."""
    document = b'{"_id":"a","_rev":"1-a","d":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    write(output, change(document))
    assert warehouse.rows() == {"a": "1-a"}


def test_a_change_without_an_id_is_a_dead_letter_and_no_row(
    output: PositionKeeper, warehouse: Served
) -> None:
    for id in ("", ""):
        write(output, change(b'{"_rev":"1-a","n":1}', id), change(b'{"_id":"b","_rev":"1-a"}', "b"))
    assert set(warehouse.rows()) == {"b"}
    assert warehouse.letters() == [(None, "1-a", "no_id", '{"_rev":"1-a","n":1}')]


def test_of_a_document_that_is_twice_in_a_batch_the_last_is_stored(
    output: PositionKeeper, warehouse: Served
) -> None:
    write(output, change(b'{"_id":"a","_rev":"1-a"}'), change(b'{"_id":"a","_rev":"2-a"}', revision="2-a"))
    assert warehouse.rows() == {"a": "2-a"}


def test_dead_letters_are_in_the_file_as_well(
    output: PositionKeeper, warehouse: Served, tmp_path: Path
) -> None:
    refused = Rejected("z", "1-z", None, "malformed", "no JSON", "{")
    poison = change(b'{"_id":"a","_rev":"1-a","n":' + DEEP + b"}")
    for _ in range(2):
        write(output, poison, change(b"{}", "b"), rejected=(refused,))
    lines = (tmp_path / "dead_letter_queue" / "medic.jsonl").read_text().splitlines()
    assert [(line["document_id"], line["code"]) for line in map(json.loads, lines)] == [
        ("z", "malformed"),
        ("a", "54001"),
    ]
    assert json.loads(lines[1])["document"].encode() == b'{"_id":"a","_rev":"1-a","n":' + DEEP + b"}"


def test_what_the_input_refused_is_a_dead_letter(output: PositionKeeper, warehouse: Served) -> None:
    write(output, rejected=(Rejected("a", "1-a", "5-x", "malformed", "no JSON", "{"),))
    assert warehouse.letters() == [("a", "1-a", "malformed", "{")]


def test_a_closed_output_has_released_its_table(output: PositionKeeper, warehouse: Served) -> None:
    output.close()
    assert warehouse.installation.value("select held_until <= clock_timestamp() from v1.couchdb_progress")


@pytest.mark.parametrize("options", [{"format": "json"}, {"http_method": "put", "format": "json_batch"}])
def test_the_position_needs_arrays_that_are_posted(tmp_path: Path, options: dict[str, str]) -> None:
    made = {"url": "http://h/t", "http_method": "post", "position_headers": True, **options}
    with pytest.raises(ConfigError, match="position_headers"):
        build(Options(**made), PluginContext("medic", tmp_path))  # type: ignore[arg-type]


def test_headers_login_and_proxy_of_the_options_go_to_postgrest_with_each_request(tmp_path: Path) -> None:
    with http_server([{"status": 200, "body": "[]"}]) as server:
        options = Options(
            url="http://elsewhere.invalid/medic",
            http_method="post",
            format="json_batch",
            position_headers=True,
            headers={"X-Key": 1, "Prefer": "resolution=merge-duplicates"},
            user="u",
            password=Password("p"),
            proxy=(f"http://127.0.0.1:{server.port}",),
        )
        made = build(options, PluginContext("medic", tmp_path))
        assert isinstance(made, PositionKeeper)
        assert list(made.stored_after("", threading.Event())) == []
        (request,) = server.requests
    assert request.target.startswith("http://elsewhere.invalid/medic?")
    assert [request.header(name) for name in ("X-Key", "Authorization", "Prefer")] == [
        "1",
        "Basic dTpw",
        None,
    ]


class Plain(LoopbackServer):
    """Answers with the statuses of a list, then 200; keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(PlainHandler)
        self.statuses: list[int] = []
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"{super().url}/t"


class PlainHandler(BaseHTTPRequestHandler):
    server: Plain

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def plain() -> Iterator[Plain]:
    with serving(Plain()) as server:
        yield server


def plain_output(plain: Plain, tmp_path: Path, form: str) -> Output:
    options = Options(url=plain.url, http_method="post", format=form)
    return build(options, PluginContext("medic", tmp_path))


@pytest.mark.parametrize(
    ("form", "sent"), [("json", [{"n": 1}, {"n": 2}]), ("json_batch", [[{"n": 1}, {"n": 2}]])]
)
def test_events_go_one_by_one_or_as_an_array(plain: Plain, tmp_path: Path, form: str, sent: Any) -> None:
    events = [Event({"n": 1}), Event({"n": 2})]
    for event in events:
        event.remove("@timestamp")
        event.remove("@version")
    assert plain_output(plain, tmp_path, form).write(Batch(events), ObservedStop())
    assert [json.loads(body) for body in plain.bodies] == sent


def test_an_outage_is_waited_for(plain: Plain, tmp_path: Path) -> None:
    plain.statuses = [503, 429, 500]
    assert plain_output(plain, tmp_path, "json").write(Batch([Event({"n": 1})]), ObservedStop())
    assert len(plain.bodies) == 4
    assert not (tmp_path / "dead_letter_queue").exists()


def test_a_refusal_is_a_dead_letter_in_the_file(plain: Plain, tmp_path: Path) -> None:
    plain.statuses = [400]
    assert plain_output(plain, tmp_path, "json").write(
        Batch([Event({"n": 1}), Event({"n": 2})]), ObservedStop()
    )
    (line,) = (tmp_path / "dead_letter_queue" / "medic.jsonl").read_text().splitlines()
    assert json.loads(line)["code"] == "HTTP 400"
    assert len(plain.bodies) == 2


def test_a_stop_ends_the_waiting(plain: Plain, tmp_path: Path) -> None:
    plain.statuses = [503] * 1000
    stop = ObservedStop()
    done: list[bool] = []
    output = plain_output(plain, tmp_path, "json")
    thread = threading.Thread(
        target=lambda: done.append(output.write(Batch([Event({"n": 1})]), stop)), daemon=True
    )
    thread.start()
    stop.await_pause()
    stop.set()
    thread.join(20)
    assert done == [False]
