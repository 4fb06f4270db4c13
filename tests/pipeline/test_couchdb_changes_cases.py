"""The recorded cases of logstash-input-couchdb_changes, against a server that gives its feeds by script.

The server is honest where the recordings were not: it gives what comes after `since`, and nothing before.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from logstash_cases import Case, cases, typed
from loopback_server import LoopbackServer, serving
from printed import plugin

from cht_sync.errors import ConfigError, SourceError
from cht_sync.pipeline.config import load
from cht_sync.pipeline.config.problems import Place
from cht_sync.pipeline.config.tree import Plugin, Setting
from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.couchdb import login
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import PluginContext

PATIENCE = 20.0
LIVE = "/db/_changes?feed=continuous&include_docs=true"


def row(seq: Any, id: str, **document: Any) -> dict[str, Any]:
    return {"doc_as_upsert": True, "doc": document, "@metadata": {"action": "update", "_id": id, "seq": seq}}


A, B, C = row(1, "a", n=1), row(2, "b", n=2), row("3-g1AAAA", "c", n=3)

OUR_OWN_WAY: dict[str, dict[str, Any]] = {
    "row with doc null gives no event and its sequence is not saved": {
        "sequence": "8",
        "rejected": ["no_document"],
    },
    "row without sequence": {"sequence": "0"},
    "document without _id": {"events": [row(13, "a", n=1)]},
    "bad JSON line: run raises; the lines before it were delivered": {
        "events": [A, C],
        "sequence": "3-g1AAAA",
        "live": ["since=0&heartbeat=1000"] * 2,
    },
    "JSON line that is a list: run raises": {
        "events": [A, B],
        "sequence": "2",
        "live": ["since=0&heartbeat=1000"] * 2,
    },
    "JSON line null: run raises": {"live": ["since=0&heartbeat=1000"] * 2},
    "error line from CouchDB: no doc, so skipped": {"live": ["since=0&heartbeat=1000"] * 2},
    "sequence file empty: since is empty, not 0": {"sequence": "0", "live": ["since=0&heartbeat=1000"]},
    "initial_sequence wins over the file and is written at start": {
        "sequence": "17-abc",
        "live": ["since=17-abc&heartbeat=1000"],
    },
    "initial_sequence 0": {"sequence": "17-abc", "live": ["since=17-abc&heartbeat=1000"]},
    "initial_sequence as CouchDB 2 text is refused at start": {
        "events": [],
        "sequence": "5-abc",
        "live": ["since=5-abc&heartbeat=1000"],
    },
    "server ends the stream cleanly twice: events are delivered again": {
        "events": [A, B, C],
        "live": [f"since={since}&heartbeat=1000" for since in ("0", "2", "3-g1AAAA")],
    },
    "timeout: last_seq line and end; reconnects at once from the sequence of the start": {
        "events": [A],
        "live": ["since=0&timeout=1000", "since=1&timeout=1000"],
    },
    "connection reset in the stream: Net::HTTP itself asks again once, then the plugin waits "
    "reconnect_delay": {
        "events": [A],
        "live": ["since=0&heartbeat=1000", "since=1&heartbeat=1000", "since=1&heartbeat=1000"],
    },
    "302: not followed; the body is read as change lines": {"events": [], "sequence": "0"},
    "always_reconnect false and an error: does not stop, asks again at once without delay": {
        "events": [],
        "live": ["since=0&heartbeat=1000"],
        "fails": "answered 500",
    },
}
"""What comes out instead where the original loses, doubles or blocks data, or hides an error."""


class Server(LoopbackServer):
    def __init__(self, connections: list[dict[str, Any]]) -> None:
        super().__init__(Handler)
        self.connections = connections
        self.live: list[tuple[str, str | None]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        if not address.path.endswith("/_changes"):
            self._send(404, b'{"error":"not_found","reason":"missing"}')
        elif query.get("feed") != "continuous":
            last = json.dumps(query["since"]).encode()
            self._send(200, b'{"results":[\n\n],\n"last_seq":%b,"pending":0}\n' % last)
        else:
            self._live(query["since"])

    def _live(self, since: str) -> None:
        number = len(self.server.live)
        self.server.live.append((self.path, self.headers.get("Authorization")))
        listed = self.server.connections
        given = listed[number] if number < len(listed) else {"feed_lines": listed[0].get("feed_lines", "")}
        if "status" in given:
            self._send(given["status"], given.get("body", "{}").encode())
            return
        chunks = given.get("feed_chunks") or [_after(given["feed_lines"], since, all=number == 0)]
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(chunk.encode())
            self.wfile.flush()
        if given.get("then") == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif given.get("then") != "ends in order":
            self.server.over.wait(PATIENCE)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _after(feed: str, since: str, *, all: bool) -> str:
    """The lines behind the row of a sequence; those that are no rows come only the first time."""
    lines = feed.splitlines(keepends=True)
    sequences = [str(found.get("seq")) if (found := _row(line)) else None for line in lines]
    begin = sequences.index(since) + 1 if since in sequences else 0
    return "".join(line for line in lines[begin:] if all or _row(line))


def _row(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "id" in found else None


@cases("couchdb_changes.json")
def test_the_input_does_what_logstash_s_does(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "PAUSE", 0.1)
    ours = OUR_OWN_WAY.get(case["name"], {})
    file = tmp_path / "sequence"
    if "sequence_file_before" in case:
        file.write_text(case["sequence_file_before"])
    with serving(Server(case.get("connections") or [case])) as server:
        options = {"db": "db", "host": "127.0.0.1", "port": server.server_address[1], **case["options"]}
        options["sequence_path"] = str(file)
        settings = {name: Setting(item, Place("", 1, 1)) for name, item in options.items()}
        text = f"input {{ {plugin(Plugin('couchdb_changes', settings, Place('', 1, 1)))} }}"
        if "expected_error" in case and not ours:
            with pytest.raises(ConfigError):
                load(text, {}, PluginContext("main", tmp_path), support_escapes=True)
            return
        (source,) = load(text, {}, PluginContext("main", tmp_path), support_escapes=True).inputs
        expected = ours.get("events", case.get("expected_events"))
        live = _live_requests(case, ours)
        stop = threading.Event()
        events: list[Event] = []
        rejected: list[Rejected] = []
        source.start(None, stop)
        deadline = threading.Event()
        timer = threading.Timer(PATIENCE, deadline.set)
        timer.daemon = True
        timer.start()

        def read() -> None:
            batch = source.read(stop, 0.05)
            assert batch is not None
            events.extend(batch.events)
            rejected.extend(batch.rejected)
            batch.ack()

        try:
            if "fails" in ours:
                with pytest.raises(SourceError, match=ours["fails"]):
                    while not deadline.is_set():
                        read()
                assert len(server.live) == len(live)
                return
            while len(events) < len(expected) or len(server.live) < len(live):
                assert not deadline.is_set(), (events, server.live)
                read()
            read()
        finally:
            timer.cancel()
            source.close()
        assert [typed(_shown(event)) for event in events] == [typed(one) for one in expected]
        assert [one.code for one in rejected] == ours.get("rejected", [])
        assert [target for target, _ in server.live] == live
        if "authorization" in case.get("expected_requests", [{}])[0]:
            assert server.live[0][1] == case["expected_requests"][0]["authorization"]
    # Where nothing came the position is the one where reading began.
    sequence = ours.get("sequence", case.get("expected_sequence"))
    assert file.read_text() == ("0" if sequence is None else sequence)


def _live_requests(case: Case, ours: dict[str, Any]) -> list[str]:
    if "live" in ours:
        return [f"{LIVE}&{since}" for since in ours["live"]]
    if "expected_requests" in case:
        return [request["target"] for request in case["expected_requests"]]
    return [f"{LIVE}&since=0&heartbeat={case['options'].get('heartbeat', 1000)}"]


def _shown(event: Event) -> dict[str, Any]:
    fields = json.loads(event.to_json())
    del fields["@timestamp"], fields["@version"]
    return {**fields, "@metadata": event.metadata}
