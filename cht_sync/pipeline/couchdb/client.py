"""Requests to CouchDB. The HTTP library's errors become ours here and nowhere else.

Sources: CouchDB's documentation, "/{db}/_changes", "Cookie Authentication" and "JWT Authentication", and
recorded answers of CouchDB 3.4.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import msgspec
import requests
import urllib3

from cht_sync import authorities, backoff
from cht_sync.errors import LoginRefused, OperatorNeeded, SourceError, SourceUnavailable
from cht_sync.logins import basic
from cht_sync.pipeline.couchdb.hints import to_correct
from cht_sync.pipeline.couchdb.identity import Identity, identity
from cht_sync.pipeline.couchdb.login import LoginGate, Verdict
from cht_sync.pipeline.couchdb.session import CookieSession, session_for

CHUNK = 1 << 18
"""Most bytes taken from the socket at once."""
CONNECT_TIMEOUT = 10.0
"""Seconds until a connection stands."""
ANSWER_TIMEOUT = 60.0
"""Seconds without a byte of an answer that is no live feed."""
MISSED_HEARTBEATS = 3
"""So many heartbeats without a byte, and the connection counts as dead."""
MALFORMED_SEQUENCE = "Malformed sequence supplied in 'since' parameter."
"""What CouchDB says of a position that it does not know."""

Authentication = Literal["basic", "session", "bearer"]


@dataclass(frozen=True)
class Server:
    """Where a database is and who reads it.

    With `session` the login is exchanged for a cookie, which is renewed; with `bearer` the token takes
    the login's place.
    """

    address: str
    """`http(s)://host:port`."""
    database_path: str
    """The database's path as it goes into the URL: percent-encoded, without leading slash."""
    user: str
    password: str
    ca_file: str | None = None
    authentication: Authentication = "basic"
    token: str = ""
    by_settings: bool = False
    """Settings say all this, not options of a plugin: hints name these."""

    def __repr__(self) -> str:
        return f"{self.address}/{self.database_path}"


@dataclass(frozen=True)
class Asked:
    """What of the changes is asked for.

    Without `documents` rows say only which document changed; `selector` (the JSON of a Mango selector)
    leaves out the changes of documents that do not match it.
    """

    documents: bool = True
    selector: str | None = None


@dataclass(frozen=True)
class Wait:
    """How an open feed shows that it lives: a blank line every `heartbeat` seconds; or, where there is a
    `timeout`, not at all, and it ends after so many seconds without a change."""

    heartbeat: float
    timeout: float | None = None

    @property
    def query(self) -> dict[str, str]:
        """The parameter that asks for it."""
        if self.timeout is not None:
            return {"timeout": str(int(self.timeout * 1000))}
        return {"heartbeat": str(int(self.heartbeat * 1000))}

    @property
    def patience(self) -> float:
        """Seconds without a byte after which the connection counts as dead."""
        if self.timeout is not None:
            return self.timeout + ANSWER_TIMEOUT
        return max(self.heartbeat * MISSED_HEARTBEATS, CONNECT_TIMEOUT)


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

    def __init__(self, server: Server, gate: LoginGate, asked: Asked | None = None) -> None:
        self._server = server
        self._gate = gate
        self._asked = asked or Asked()
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update({"Accept": "application/json", "Accept-Encoding": "identity"})
        self._cookie: CookieSession | None = None
        if server.authentication == "session":
            self._cookie = session_for(server.address, server.user)
            self._session.cookies = self._cookie.jar
        elif server.authentication == "bearer":
            self._session.headers["Authorization"] = f"Bearer {server.token}"
        elif server.user:
            # As bytes: the library would encode text as Latin-1, CouchDB reads UTF-8.
            self._session.auth = basic(server.user, server.password)
        if server.ca_file:
            self._session.verify = server.ca_file
        self._open: Feed | None = None
        self._lock = threading.Lock()

    @contextmanager
    def page(self, since: str, limit: int, stop: threading.Event) -> Iterator[Feed]:
        """Ask for the next `limit` changes after `since`."""
        query = {**self._parameters, "limit": str(limit), "since": since}
        with self._feed(query, ANSWER_TIMEOUT, stop) as feed:
            yield feed

    @contextmanager
    def continuous(self, since: str, wait: Wait, stop: threading.Event) -> Iterator[Feed]:
        """Follow the changes after `since`."""
        query = {"feed": "continuous", **self._parameters, "since": since, **wait.query}
        with self._feed(query, wait.patience, stop) as feed:
            yield feed

    @contextmanager
    def longpoll(self, since: str, limit: int, wait: Wait, stop: threading.Event) -> Iterator[Feed]:
        """Wait for a change after `since`: a page that ends once it has a row."""
        query = {"feed": "longpoll", **self._parameters, "limit": str(limit), "since": since, **wait.query}
        with self._feed(query, wait.patience, stop) as feed:
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
        if response.status_code >= 500 or response.status_code == 429:
            self._gate.doubt()
            raise SourceUnavailable(
                f"{self._server.address}/{root} answered {response.status_code}", pause=_pause(response)
            )
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

    @property
    def _parameters(self) -> dict[str, str]:
        """The parameters of a feed that say what is asked for."""
        documents = {"include_docs": "true"} if self._asked.documents else {}
        return documents if self._asked.selector is None else {"filter": "_selector", **documents}

    @contextmanager
    def _feed(self, query: Mapping[str, str], timeout: float, stop: threading.Event) -> Iterator[Feed]:
        path = f"{self._server.database_path}/_changes"
        selector = self._asked.selector
        body = None if selector is None else f'{{"selector":{selector}}}'.encode()
        try:
            response = self._get(path, query, timeout, stop, stream=True, body=body)
            feed = Feed(response)
            with self._lock:
                self._open = feed
            try:
                if stop.is_set():  # interrupt() came before there was anything to interrupt
                    raise SourceUnavailable("stopped before the answer")
                self._check(response, self._asked)
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
            cookie = self._signed_in(verdict, None)
            response = self._send(path, query, body, timeout, stream)
            if judged and cookie is not None and response.status_code == 401:
                # It has expired. A login that is refused now is judged like any other.
                response.close()
                self._signed_in(verdict, cookie)
                response = self._send(path, query, body, timeout, stream)
            try:
                if judged:
                    verdict(response.status_code, _reason(response))
            except SourceError:
                response.close()
                raise
        return response

    def _send(
        self, path: str, query: Mapping[str, str], body: bytes | None, timeout: float, stream: bool
    ) -> requests.Response:
        try:
            return self._session.request(
                "GET" if body is None else "POST",
                f"{self._server.address}/{path}",
                params=query,
                data=body,
                headers=None if body is None else {"Content-Type": "application/json"},
                timeout=(CONNECT_TIMEOUT, timeout),
                stream=stream,
                allow_redirects=False,
            )
        except (requests.RequestException, ValueError) as error:
            # A ValueError is said of a redirection to what is no address, though none is followed.
            file, host = (
                self._to_correct("COUCHDB_CA_FILE", "ca_file"),
                self._to_correct("COUCHDB_HOST", "host"),
            )
            why, hint = authorities.refusal(error, file=file, host=host) or (_short(error), self._look())
            raise SourceUnavailable(f"{self._server!r} does not answer: {why}", hint=hint) from error

    def _signed_in(self, verdict: Verdict, refused: str | None) -> str | None:
        """Return the cookie that all clients of this login share, another one than `refused`.

        None where there are no cookies. Raises LoginRefused.
        """
        if self._cookie is None:
            return None
        with self._cookie.lock:
            if self._cookie.value in (None, refused):
                pause = self._gate.remaining_pause()
                if pause > 0:
                    raise LoginRefused(
                        f"login of {self._server.user} rests for {pause:.0f} s after a refusal"
                    )
                login = {"name": self._server.user, "password": self._server.password}
                root = self._server.database_path.rpartition("/")[0]
                path = f"{root}/_session" if root else "_session"
                response = self._send(path, {}, msgspec.json.encode(login), ANSWER_TIMEOUT, stream=False)
                verdict(response.status_code, _reason(response))
                if self._cookie.value in (None, refused):
                    raise SourceUnavailable(
                        f"{self._server.address}/{path} answered {response.status_code} and gave no cookie",
                        pause=_pause(response),
                    )
            return self._cookie.value

    def _check(self, response: requests.Response, asked: Asked | None = None) -> None:
        status = response.status_code
        if status == 200:
            return
        said = _reason(response)
        if status == 404:
            raise SourceUnavailable(
                f"{self._server!r} does not exist: {said}",
                hint=f"Create the database, or correct {self._to_correct('COUCHDB_DBS', 'db')}.",
            )
        if status == 400 and asked is not None and asked.selector and said != MALFORMED_SEQUENCE:
            raise OperatorNeeded(
                f"{self._server!r} refuses the request with the selector {asked.selector}: {said}",
                hint="Correct the option selector of couchdb_changes.",
            )
        if status == 400:
            raise OperatorNeeded(
                f"{self._server!r} refuses the request: {said}",
                hint="Its saved position may belong to another server. To read everything again: "
                f"cht-sync accept-server --from-start; else correct "
                f"{self._to_correct('COUCHDB_HOST', 'host')}.",
            )
        raise SourceUnavailable(f"{self._server!r} answered {status}: {said}", pause=_pause(response))

    def _to_correct(self, setting: str, option: str) -> str:
        return to_correct(setting, option, by_settings=self._server.by_settings)

    def _look(self) -> str | None:
        """What to look at where there is no answer. A pipeline just tries again, and its log says so."""
        if not self._server.by_settings:
            return None
        return "Check COUCHDB_HOST and COUCHDB_PORT, and whether CouchDB runs there."


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
    except (requests.RequestException, ValueError, RecursionError):
        return "no JSON in the answer"
    return str(answer.get("reason", ""))[:300] if isinstance(answer, dict) else ""


def _pause(response: requests.Response) -> float:
    return backoff.requested(response.status_code, response.headers.get("Retry-After"))


def _short(error: BaseException) -> str:
    """The innermost reason of an error of the HTTP library, without its wrapping."""
    inner: BaseException = error
    while inner.args and isinstance(inner.args[-1], BaseException):
        inner = inner.args[-1]
    reason = getattr(inner, "reason", None)
    return str(reason if reason is not None else inner)[:200]
