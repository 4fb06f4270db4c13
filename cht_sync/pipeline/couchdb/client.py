"""Requests to CouchDB. The HTTP library's errors become ours here and nowhere else."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import requests
import urllib3
from requests.auth import HTTPBasicAuth

from cht_sync.errors import OperatorNeeded, SourceError, SourceUnavailable
from cht_sync.pipeline.couchdb.identity import Identity, identity
from cht_sync.pipeline.couchdb.login import LoginGate

CHUNK = 1 << 18
"""Most bytes taken from the socket at once."""
CONNECT_TIMEOUT = 10.0
"""Seconds until a connection stands."""
ANSWER_TIMEOUT = 60.0
"""Seconds without a byte of an answer that is no live feed."""
MISSED_HEARTBEATS = 3
"""So many heartbeats without a byte, and the connection counts as dead."""


@dataclass(frozen=True)
class Server:
    """Where a database is and who reads it."""

    address: str
    """`http(s)://host:port`."""
    database_path: str
    """The database's path as it goes into the URL: percent-encoded, without leading slash."""
    user: str
    password: str
    ca_file: str | None = None

    def __repr__(self) -> str:
        return f"{self.address}/{self.database_path}"


class Feed:
    """An answer that is being read; another thread may end it."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def chunks(self) -> Iterator[bytes]:
        """Yield what arrives, as it arrives; raises SourceUnavailable when the connection breaks."""
        raw: urllib3.HTTPResponse = self._response.raw
        try:
            while chunk := raw.read1(CHUNK):
                yield chunk
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise SourceUnavailable(f"the connection broke: {_short(error)}") from error

    def interrupt(self) -> None:
        """Wake up a thread that waits in `chunks`; its connection ends."""
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            self._response.raw.shutdown()

    def close(self) -> None:
        """Let go of the connection."""
        self._response.close()


class CouchdbClient:
    """One connection to one database; used by one thread, interrupted by others."""

    def __init__(self, server: Server, gate: LoginGate) -> None:
        self._server = server
        self._gate = gate
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update({"Accept": "application/json", "Accept-Encoding": "identity"})
        if server.user:
            # As bytes: the library would encode text as Latin-1, CouchDB reads UTF-8.
            self._session.auth = HTTPBasicAuth(server.user.encode(), server.password.encode())
        if server.ca_file:
            self._session.verify = server.ca_file
        self._open: Feed | None = None
        self._lock = threading.Lock()

    @contextmanager
    def page(self, since: str, limit: int, stop: threading.Event) -> Iterator[Feed]:
        """Ask for the next `limit` changes after `since`, with their documents."""
        query = {"include_docs": "true", "limit": str(limit), "since": since}
        with self._feed(query, ANSWER_TIMEOUT, stop) as feed:
            yield feed

    @contextmanager
    def continuous(self, since: str, heartbeat: float, stop: threading.Event) -> Iterator[Feed]:
        """Follow the changes after `since`; a blank line comes every `heartbeat` seconds."""
        query = {
            "feed": "continuous",
            "include_docs": "true",
            "since": since,
            "heartbeat": str(int(heartbeat * 1000)),
        }
        with self._feed(query, max(heartbeat * MISSED_HEARTBEATS, CONNECT_TIMEOUT), stop) as feed:
            yield feed

    def document(self, document_id: str, revision: str, stop: threading.Event) -> bytes | None:
        """Fetch one revision of a document as bytes; None when the server no longer has it."""
        path = f"{self._server.database_path}/{_document_path(document_id)}"
        response = self._get(path, {"rev": revision} if revision else {}, ANSWER_TIMEOUT, stop)
        if response.status_code in (400, 404):
            return None
        self._check(response)
        return response.content

    def ask(
        self, path: str, query: Mapping[str, str], stop: threading.Event, *, body: bytes | None = None
    ) -> bytes:
        """Return what the database answers to a question like `_all_docs`; POST where there is a body.

        `path` is percent-encoded. Raises SourceError.
        """
        where = f"{self._server.database_path}/{path}" if path else self._server.database_path
        try:
            response = self._get(where, query, ANSWER_TIMEOUT, stop, body=body)
            self._check(response)
        except SourceUnavailable:
            self._gate.doubt()
            raise
        return response.content

    def identity(self, stop: threading.Event) -> Identity:
        """Ask which server this is and which instance of the database. Raises SourceError.

        The database is asked first, which judges the login too; a proxy that keeps `/` to itself leaves
        the identity unknown.
        """
        information = self.ask("", {}, stop)
        root = self._server.database_path.rpartition("/")[0]
        response = self._get(f"{root}/" if root else "", {}, ANSWER_TIMEOUT, stop, judged=False)
        if response.status_code >= 500:
            self._gate.doubt()
            raise SourceUnavailable(f"{self._server.address}/{root} answered {response.status_code}")
        return identity(response.content, information)

    def login_pause(self) -> float:
        """Seconds until a login may be tried again."""
        return self._gate.remaining_pause()

    def interrupt(self) -> None:
        """Wake up whoever waits for an answer."""
        with self._lock:
            if self._open is not None:
                self._open.interrupt()

    def close(self) -> None:
        """Let go of all connections."""
        self._session.close()

    @contextmanager
    def _feed(self, query: Mapping[str, str], timeout: float, stop: threading.Event) -> Iterator[Feed]:
        path = f"{self._server.database_path}/_changes"
        try:
            response = self._get(path, query, timeout, stop, stream=True)
            feed = Feed(response)
            with self._lock:
                self._open = feed
            try:
                if stop.is_set():  # interrupt() came before there was anything to interrupt
                    raise SourceUnavailable("stopped before the answer")
                self._check(response)
                yield feed
            finally:
                with self._lock:
                    self._open = None
                feed.close()
        except SourceUnavailable:
            self._gate.doubt()
            raise

    def _get(
        self,
        path: str,
        query: Mapping[str, str],
        timeout: float,
        stop: threading.Event,
        *,
        stream: bool = False,
        body: bytes | None = None,
        judged: bool = True,
    ) -> requests.Response:
        """Send a request; where it is `judged`, raise LoginRefused for an answer that means this."""
        with self._gate.attempt(stop) as verdict:
            try:
                response = self._session.request(
                    "GET" if body is None else "POST",
                    f"{self._server.address}/{path}",
                    params=query,
                    data=body,
                    headers=None if body is None else {"Content-Type": "application/json"},
                    timeout=(CONNECT_TIMEOUT, timeout),
                    stream=stream,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                raise SourceUnavailable(f"{self._server!r} does not answer: {_short(error)}") from error
            try:
                if judged:
                    verdict(response.status_code, _reason(response))
            except SourceError:
                response.close()
                raise
        return response

    def _check(self, response: requests.Response) -> None:
        status = response.status_code
        if status == 200:
            return
        said = _reason(response)
        if status == 404:
            raise SourceUnavailable(
                f"{self._server!r} does not exist: {said}",
                hint="Create the database, or correct COUCHDB_DBS.",
            )
        if status == 400:
            raise OperatorNeeded(
                f"{self._server!r} refuses the request: {said}",
                hint="Its saved position may belong to another server. To read everything again: "
                "cht-sync accept-server --from-start; else correct COUCHDB_HOST.",
            )
        raise SourceUnavailable(f"{self._server!r} answered {status}: {said}")


def _document_path(document_id: str) -> str:
    prefix, slash, name = document_id.partition("/")
    if slash and prefix in ("_design", "_local"):
        return f"{prefix}/{quote(name, safe='', errors='surrogatepass')}"
    return quote(document_id, safe="", errors="surrogatepass")


def _reason(response: requests.Response) -> str:
    """What CouchDB says of a refusal: its `reason`; empty for a success, whose body is not read here."""
    if response.status_code < 300:
        return ""
    try:
        answer = response.json()
    except (requests.RequestException, ValueError):
        return "no JSON in the answer"
    return str(answer.get("reason", ""))[:300] if isinstance(answer, dict) else ""


def _short(error: BaseException) -> str:
    """The innermost reason of an error of the HTTP library, without its wrapping."""
    inner: BaseException = error
    while inner.args and isinstance(inner.args[-1], BaseException):
        inner = inner.args[-1]
    reason = getattr(inner, "reason", None)
    return str(reason if reason is not None else inner)[:200]
