"""A server that answers as Apache CouchDB 3.4.3 was recorded to, and can be replaced under its clients.

It injects what no server can be asked for: another uuid, a database made anew with the same or another
`instance_start_time`, an older version, a proxy before it, requests that hang, connections that break.
What it keeps is real: documents have revisions, the feed has opaque sequences, one that belongs to
another instance is accepted and reads from the start.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from loopback_server import LoopbackServer, serving

PATIENCE = 30.0
UUID = "22a0658a998a8561c08505291746576d"
NO_DATABASE = {"error": "not_found", "reason": "Database does not exist."}
CLOSED = {"error": "unauthorized", "reason": "You are not authorized to access this db."}
WRONG = {"error": "unauthorized", "reason": "Name or password is incorrect."}
LOCKED = {
    "error": "forbidden",
    "reason": "Account is temporarily locked due to multiple authentication failures",
}
MOST_FAILURES = 5
MALFORMED = {"error": "bad_request", "reason": "Malformed sequence supplied in 'since' parameter."}


@dataclass
class Database:
    """One instance of a database."""

    instance_start_time: str
    changes: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    sequence: int = 0
    gone: bool = False

    def token(self, number: int) -> str:
        return f"{number}-g1AAAA{self.instance_start_time}{id(self):x}"

    def number(self, since: str) -> int | None:
        """The place after `since`; None for a sequence that CouchDB refuses."""
        if since == "0":
            return 0
        if since == "now":
            return self.sequence
        if not re.fullmatch(r"\d+-g1AAAA\w+", since):
            return None
        number = int(since.partition("-")[0])
        return number if since == self.token(number) else 0

    def rows(self, after: int) -> list[tuple[int, dict[str, Any]]]:
        return sorted((change for change in self.changes.values() if change[0] > after), key=lambda c: c[0])


class FakeCouchdb(LoopbackServer):
    """The server; everything that is public may be changed while it runs."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.uuid: str | None = UUID
        self.version = "3.4.3"
        self.prefix = ""
        """The path of a proxy before it."""
        self.root: bytes | None = None
        """What a proxy answers for `/` instead."""
        self.databases: dict[str, Database] = {}
        self.created = 1_795_318_793
        self.hold: Callable[[str], bool] = lambda _request: False
        """Whether a request of this method and path gets no answer before `held` is set."""
        self.before_all_docs_is_answered: Callable[[], None] = lambda: None
        self.held = threading.Event()
        self.is_held = threading.Event()
        self.requests: list[str] = []
        self.changed = threading.Condition()
        self.outage = 0
        self.ending = False
        self.login: tuple[str, str] | None = None
        """Who may read, by Basic authentication or a cookie; None: anybody."""
        self.token: str | None = None
        """What may read instead, as a bearer token."""
        self.cookies: set[str] = set()
        """The cookies that are valid."""
        self.renews = False
        """Whether each answer brings a new cookie, and ends the one before."""
        self.failures = 0
        """Wrong logins; the sixth finds the account locked."""
        self.next_cookie = itertools.count(1)

    def end_waiting(self) -> None:
        self.held.set()
        with self.changed:
            self.ending = True
            self.changed.notify_all()

    def create(self, name: str = "medic", *, born: str | None = None) -> Database:
        """Make a database; its creation is a second later than that of the one before."""
        with self.changed:
            self.created += 1
            made = self.databases[name] = Database(str(self.created) if born is None else born)
        return made

    def delete(self, name: str = "medic") -> None:
        """Delete a database: its live feeds end in order."""
        with self.changed:
            self.databases.pop(name).gone = True
            self.changed.notify_all()

    def write(self, *ids: str, database: str = "medic", deleted: bool = False, **fields: Any) -> None:
        """Write a revision of each document."""
        with self.changed:
            kept = self.databases[database]
            for document_id in ids:
                kept.sequence += 1
                before = kept.changes.get(document_id)
                generation = int(before[1]["_rev"].partition("-")[0]) + 1 if before else 1
                mark: dict[str, Any] = {"_deleted": True} if deleted else {}
                revision = f"{generation}-{kept.instance_start_time}"
                document = {"_id": document_id, "_rev": revision, **mark, **fields}
                kept.changes[document_id] = (kept.sequence, document)
            self.changed.notify_all()

    def break_connections(self) -> None:
        """All live feeds break, as when the server is stopped."""
        with self.changed:
            self.outage += 1
            self.changed.notify_all()

    def documents(self, database: str = "medic") -> dict[str, str]:
        """The revision of each document that is not deleted."""
        return {
            document["_id"]: document["_rev"]
            for _number, document in self.databases[database].changes.values()
            if "_deleted" not in document
        }

    def asked(self, beginning: str) -> list[str]:
        """The requests so far that begin so, as `GET /medic/_changes?...`."""
        return [request for request in self.requests if request.startswith(beginning)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeCouchdb
    cookie: str | None = None

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = f"{method} {self.path}"
        with server.changed:
            server.requests.append(request)
            self.outage = server.outage
            server.changed.notify_all()
        if server.hold(request):
            server.is_held.set()
            server.held.wait(PATIENCE)
        path = urlsplit(self.path).path.removeprefix(server.prefix)
        self.cookie = None
        if path == "/_session":
            self._sign_in(json.loads(body))
            return
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if path == "/":
            self._welcome()
            return
        if not self._may_read():
            return
        self.shows = query.get("include_docs") == "true"
        self.selector = json.loads(body)["selector"] if query.get("filter") == "_selector" else {}
        name, _, action = path.strip("/").partition("/")
        database = server.databases.get(unquote(name))
        if database is None:
            self._json(NO_DATABASE, 404)
        elif not action:
            update = database.token(database.sequence)
            self._json(
                {
                    "instance_start_time": database.instance_start_time,
                    "db_name": unquote(name),
                    "update_seq": update,
                    "doc_count": len(database.changes),
                }
            )
        elif action == "_all_docs":
            self._all_docs(database, json.loads(body)["keys"])
        elif database.number(query.get("since", "0")) is None:
            self._json(MALFORMED, 400)
        elif query.get("feed") == "continuous":
            self._continuous(
                database,
                database.number(query["since"]) or 0,
                int(query.get("heartbeat", query.get("timeout"))) / 1000,
                ends="heartbeat" not in query,
            )
        elif query.get("feed") == "longpoll":
            self._longpoll(database, database.number(query["since"]) or 0, query)
        else:
            self._page(database, database.number(query.get("since", "0")) or 0, int(query["limit"]))

    def _sign_in(self, given: dict[str, str]) -> None:
        server = self.server
        if server.failures > MOST_FAILURES:
            self._json(LOCKED, 403)
        elif (given["name"], given["password"]) != server.login:
            server.failures += 1
            self.cookie = ""
            self._json(WRONG, 401)
        else:
            self._new_cookie()
            self._json({"ok": True, "name": given["name"], "roles": ["_admin"]})

    def _new_cookie(self) -> None:
        self.cookie = f"cookie{next(self.server.next_cookie)}"
        self.server.cookies.add(self.cookie)

    def _may_read(self) -> bool:
        server = self.server
        if server.login is None and server.token is None:
            return True
        authorization = self.headers.get("Authorization", "")
        if server.token is not None and authorization == f"Bearer {server.token}":
            return True
        if server.login is not None:
            if authorization == f"Basic {b64encode(':'.join(server.login).encode()).decode()}":
                return True
            cookie = self.headers.get("Cookie", "").removeprefix("AuthSession=")
            if cookie in server.cookies:
                if server.renews:
                    server.cookies.discard(cookie)
                    self._new_cookie()
                return True
        server.failures += authorization.startswith("Basic")
        self._json(WRONG if authorization.startswith("Basic") else CLOSED, 401)
        return False

    def _matching(self, database: Database, after: int) -> list[tuple[int, dict[str, Any]]]:
        wanted = self.selector.items()
        return [row for row in database.rows(after) if all(row[1].get(key) == item for key, item in wanted)]

    def _longpoll(self, database: Database, after: int, query: dict[str, str]) -> None:
        server = self.server
        self._begin()
        self._chunk('{"results":[\n')
        period = int(query.get("heartbeat", query.get("timeout", "60000"))) / 1000
        while True:
            with server.changed:
                server.changed.wait_for(
                    lambda: self._matching(database, after) or server.outage != self.outage or server.ending,
                    period,
                )
                rows = self._matching(database, after)[: int(query["limit"])]
                broken = server.outage != self.outage or server.ending
            if broken:
                self.close_connection = True
                return
            if rows or "heartbeat" not in query:
                break
            try:
                self._chunk("\n")
            except OSError:
                self.close_connection = True
                return
        last = rows[-1][0] if rows else database.sequence
        lines = "".join(self._row(database, *row) + ",\r\n" for row in rows).removesuffix(",\r\n")
        self._chunk(f'{lines}\n],\n"last_seq":"{database.token(last)}","pending":0}}\n')
        self.wfile.write(b"0\r\n\r\n")

    def _begin(self) -> None:
        self.send_response(200)
        self._set_cookie()
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _set_cookie(self) -> None:
        if self.cookie is not None:
            # As recorded, with a moment that is long past: what counts is the age.
            ends = "Version=1; Expires=Sun, 22-Nov-2020 03:49:55 GMT; Max-Age=600; Path=/; HttpOnly"
            self.send_header("Set-Cookie", f"AuthSession={self.cookie}; {ends}")

    def _welcome(self) -> None:
        server = self.server
        if server.root is not None:
            self._send(server.root, 200, "text/html")
            return
        vendor = {"name": "The Apache Software Foundation"}
        welcome = {"couchdb": "Welcome", "version": server.version, "uuid": server.uuid, "vendor": vendor}
        self._json({name: value for name, value in welcome.items() if value is not None})

    def _all_docs(self, database: Database, keys: list[str]) -> None:
        rows: list[dict[str, Any]] = []
        for key in keys:
            if key not in database.changes:
                rows.append({"key": key, "error": "not_found"})
                continue
            document = database.changes[key][1]
            value = {"rev": document["_rev"]}
            rows.append(
                {
                    "id": key,
                    "key": key,
                    "value": value | {"deleted": True} if "_deleted" in document else value,
                }
            )
        self.server.before_all_docs_is_answered()
        self._json({"total_rows": len(database.changes), "offset": None, "rows": rows})

    def _page(self, database: Database, after: int, limit: int) -> None:
        rows = self._matching(database, after)
        shown = rows[:limit]
        end_of_page = shown[-1][0] if shown else after
        last = end_of_page if len(shown) == limit else max(after, database.sequence)
        lines = ",\r\n".join(self._row(database, *row) for row in shown)
        end = f'],\n"last_seq":"{database.token(last)}","pending":{len(rows) - len(shown)}}}\n'
        self._send(f'{{"results":[\n{lines}\n{end}'.encode(), 200)

    def _continuous(self, database: Database, after: int, period: float, *, ends: bool) -> None:
        server = self.server
        self._begin()
        self._chunk("\n")

        def has_news() -> bool:
            return (
                bool(self._matching(database, after))
                or database.gone
                or server.outage != self.outage
                or server.ending
            )

        while True:
            with server.changed:
                is_news = server.changed.wait_for(has_news, period)
                rows = self._matching(database, after)
                ended = database.gone or (ends and not is_news)
                broken = server.outage != self.outage or server.ending
            try:
                if broken:
                    self.close_connection = True
                    return
                if rows:
                    self._chunk("".join(self._row(database, *row) + "\n" for row in rows))
                    after = rows[-1][0]
                elif ended:
                    self._chunk(f'{{"last_seq":"{database.token(after)}","pending":0}}\n')
                    self.wfile.write(b"0\r\n\r\n")
                    return
                else:
                    self._chunk("\n")
            except OSError:
                self.close_connection = True
                return

    def _row(self, database: Database, number: int, document: dict[str, Any]) -> str:
        change: dict[str, Any] = {
            "seq": database.token(number),
            "id": document["_id"],
            "changes": [{"rev": document["_rev"]}],
        }
        if "_deleted" in document:
            change["deleted"] = True
        if self.shows:
            change["doc"] = document
        return json.dumps(change, separators=(",", ":"))

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _json(self, answer: Any, status: int = 200) -> None:
        self._send(json.dumps(answer).encode() + b"\n", status)

    def _send(self, body: bytes, status: int, kind: str = "application/json") -> None:
        self.send_response(status)
        self._set_cookie()
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def fake_couchdb() -> Iterator[FakeCouchdb]:
    """Run one with an empty database `medic`."""
    server = FakeCouchdb()
    server.create()
    with serving(server):
        yield server
