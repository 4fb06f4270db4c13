"""A server that gives the bytes of changes as CouchDB 3.4 frames them, also such as no CouchDB would store.

Replicas, older servers and proxies have let them into databases. As recorded of CouchDB 3.4.3:
`{"results":[`, a row a line, a comma, CR and LF between rows, then `last_seq` and `pending`; a live feed
gives a row a line, and a blank line now and then.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from loopback_server import LoopbackServer, serving

HEARTBEAT = 0.5
ROOT = {"couchdb": "Welcome", "version": "3.4.3", "uuid": "22a0658a998a8561c08505291746576d"}
INFORMATION = {"db_name": "medic", "instance_start_time": "1795318794"}


@dataclass(frozen=True)
class Change:
    """One row. `id` and `rev` are JSON texts, `doc` is the document as JSON, None where the feed has none."""

    id: bytes
    rev: bytes
    doc: bytes | None
    deleted: bool = False

    def row(self, sequence: str) -> bytes:
        deleted = b',"deleted":true' if self.deleted else b""
        parts = (
            *(b'{"seq":"', sequence.encode(), b'","id":', self.id, b',"changes":[{"rev":', self.rev, b"}]"),
            *(deleted, b',"doc":', self.doc or b"null", b"}"),
        )
        return b"".join(parts)


class RecordedFeed(LoopbackServer):
    """`put` is a write; the newest change of a document is the only one that the feed still has."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self._changed = threading.Condition()
        self._changes: dict[bytes, tuple[int, Change]] = {}
        self._written = 0
        self._closed = False
        self.documents: dict[str, bytes] = {}
        """What is given when a document is asked for by its id; everything else is a 404."""

    @property
    def last_sequence(self) -> str:
        return _sequence(self._written)

    def put(self, *changes: Change) -> None:
        with self._changed:
            for change in changes:
                self._written += 1
                self._changes.pop(change.id, None)
                self._changes[change.id] = (self._written, change)
            self._changed.notify_all()

    def after(self, since: str) -> list[tuple[int, Change]]:
        place = int(since.partition("-")[0])
        with self._changed:
            return [one for one in self._changes.values() if one[0] > place]

    def wait(self) -> bool:
        """Wait for a change or the time of a heartbeat; False when the server closes."""
        with self._changed:
            self._changed.wait(HEARTBEAT)
            return not self._closed

    def end_waiting(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def recorded_feed() -> AbstractContextManager[RecordedFeed]:
    return serving(RecordedFeed())


def _sequence(place: int) -> str:
    return f"{place}-g1AAAACneJzLYWBgYMpgTmEQSc4vTc5ISSpKTXYwNDLXMwBCwxyQbCJDUv3"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RecordedFeed

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        segments = unquote(address.path, errors="surrogatepass").strip("/").split("/", 1)
        if segments == [""]:
            self._answer(200, json.dumps(ROOT).encode())
        elif segments == ["medic"]:
            update = {"update_seq": self.server.last_sequence}
            self._answer(200, json.dumps({**INFORMATION, **update}).encode())
        elif segments == ["medic", "_changes"]:
            self._begin_chunks()
            if query.get("feed") == "continuous":
                self._follow(query["since"])
            else:
                self._page(query["since"], int(query["limit"]))
        elif segments[-1] in self.server.documents:
            self._answer(200, self.server.documents[segments[-1]] + b"\n")
        else:
            self._answer(404, b'{"error":"not_found","reason":"missing"}\n')

    def _page(self, since: str, limit: int) -> None:
        waiting = self.server.after(since)
        rows = waiting[:limit]
        last = _sequence(rows[-1][0]) if rows else since
        self._chunk(b'{"results":[\n')
        for at, (place, change) in enumerate(rows):
            self._chunk((b",\r\n" if at else b"") + change.row(_sequence(place)))
        end = f'\n],\n"last_seq":"{last}","pending":{len(waiting) - len(rows)}}}\n'
        self._chunk(end.encode())
        self._chunk(b"")

    def _follow(self, since: str) -> None:
        try:
            while True:
                self._chunk(b"\n")
                for place, change in self.server.after(since):
                    since = _sequence(place)
                    self._chunk(change.row(since) + b"\n")
                if not self.server.wait():
                    break
            self.close_connection = True
        except OSError:  # the reader has gone
            self.close_connection = True

    def _begin_chunks(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n" % len(data))
        self.wfile.write(data)
        self.wfile.write(b"\r\n")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_arguments: Any) -> None:
        pass


def ordinary(count: int, prefix: str = "ordinary") -> Sequence[Change]:
    """Documents that nobody has trouble with."""
    return [
        Change(
            json.dumps(f"{prefix}-{n}").encode(),
            b'"1-a"',
            json.dumps({"_id": f"{prefix}-{n}", "_rev": "1-a", "n": n, "price": 1.5, "name": "Zoë"}).encode(),
        )
        for n in range(count)
    ]
