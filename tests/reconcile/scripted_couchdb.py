"""A CouchDB whose order, answers and faults a test decides: what no real server can be made to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import loopback_server


@dataclass
class Request:
    """What was asked."""

    path: str
    """Behind the database's name, without a slash at its start."""
    query: dict[str, str]
    body: Any
    database: str = ""
    """As it stood in the URL."""


Answer = tuple[int, bytes]
"""Status and body; the body may be cut off, which breaks the connection."""


@dataclass
class ScriptedCouchdb:
    """Documents in the order in which `_all_docs` gives them, then deletions, as id and revision."""

    documents: list[tuple[str, str]] = field(default_factory=list)
    deletions: list[tuple[str, str]] = field(default_factory=list)
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Members of documents beside `_id`, `_rev` and `_deleted`."""
    before: Callable[[Request], Answer | None] = lambda _request: None
    """Asked first; what it answers is sent instead."""
    requests: list[Request] = field(default_factory=list)
    port: int = 0
    uuid: str = "this one"

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        said = self.before(request)
        if said is not None:
            return said
        if not request.database:
            return 200, json.dumps({"couchdb": "Welcome", "version": "3.4.3", "uuid": self.uuid}).encode()
        routes = {"": self._information, "_all_docs": self._all_docs, "_changes": self._changes}
        routes["_bulk_get"] = self._bulk_get
        return 200, json.dumps(routes[request.path](request)).encode()

    def _information(self, _request: Request) -> Any:
        return {"db_name": "medic", "doc_count": len(self.documents), "update_seq": "9-x"}

    def _all_docs(self, request: Request) -> Any:
        if request.body is not None:
            return {"total_rows": len(self.documents), "rows": self._keys(request.body["keys"])}
        ids = [one for one, _rev in self.documents]
        start = json.loads(request.query["startkey"]) if "startkey" in request.query else None
        first = 0
        if start is not None:
            first = ids.index(start) if start in ids else sum(one < start for one in ids)
        chosen = self.documents[first : first + int(request.query["limit"])]
        return {"rows": [{"id": one, "key": one, "value": {"rev": rev}} for one, rev in chosen]}

    def _keys(self, keys: Sequence[str]) -> list[Any]:
        alive, gone = dict(self.documents), dict(self.deletions)

        def row(key: str) -> Any:
            if key in alive:
                return {"id": key, "key": key, "value": {"rev": alive[key]}}
            if key in gone:
                return {"id": key, "key": key, "value": {"rev": gone[key], "deleted": True}, "doc": None}
            return {"key": key, "error": "not_found"}

        return [row(key) for key in keys]

    def _changes(self, request: Request) -> Any:
        changes = [(*one, False) for one in self.documents] + [(*one, True) for one in self.deletions]
        since, limit = int(request.query["since"].partition("-")[0]), int(request.query["limit"])
        chosen = changes[since : since + limit]
        after = since + len(chosen)
        results = [
            {"seq": f"{since + place}-x", "id": one, "changes": [{"rev": rev}]}
            | ({"deleted": True} if gone else {})
            for place, (one, rev, gone) in enumerate(chosen, 1)
        ]
        return {"results": results, "last_seq": f"{after}-x", "pending": len(changes) - after}

    def _bulk_get(self, request: Request) -> Any:
        def given(wanted: Any) -> Any:
            named = (wanted["id"], wanted["rev"])
            if named in self.documents or named in self.deletions:
                members = {"_id": named[0], "_rev": named[1], **self.bodies.get(named[0], {})}
                return {"ok": members | ({"_deleted": True} if named in self.deletions else {})}
            return {"error": {**wanted, "error": "not_found", "reason": "missing"}}

        return {"results": [{"id": one["id"], "docs": [given(one)]} for one in request.body["docs"]]}


@contextmanager
def serving(couchdb: ScriptedCouchdb) -> Iterator[ScriptedCouchdb]:
    """Listen on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve(None)

        def do_POST(self) -> None:
            self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _serve(self, body: Any) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            database, _, path = parts.path.lstrip("/").partition("/")
            status, answer = couchdb.answer(Request(unquote(path), query, body, database))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            cut_off = status == 200 and not answer.rstrip().endswith(b"}")
            self.send_header("Content-Length", str(len(answer) + (1 if cut_off else 0)))
            self.end_headers()
            self.wfile.write(answer)
            self.close_connection = cut_off

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with loopback_server.serving(loopback_server.LoopbackServer(Handler)) as server:
        couchdb.port = server.port
        yield couchdb
