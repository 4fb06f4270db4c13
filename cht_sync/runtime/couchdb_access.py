"""Questions to a CouchDB before something is started, or when something is wrong: one login, never twice.

CouchDB locks an account after six wrong passwords. So nothing more is asked after a refused login, which is
also remembered for the commands that come after, and nothing more after an answer that is not CouchDB's.
"""

from __future__ import annotations

import difflib
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from types import TracebackType
from typing import Any
from urllib.parse import quote

import requests

from cht_sync import authorities
from cht_sync.logins import basic
from cht_sync.pipeline.couchdb.login import NOT_ALLOWED_HERE, REFUSED
from cht_sync.pipeline.couchdb.refusals import RememberedRefusal
from cht_sync.runtime.protocols import Protocol, spoken
from cht_sync.settings import Settings

REQUEST_TIMEOUT = 10.0
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404
LATER = (408, 425, 429)
"""Answers, beside those of 500 and more, after which the same request may succeed."""
TO_CORRECT = "correct COUCHDB_USER and COUCHDB_PASSWORD"
PLACE = "COUCHDB_HOST, COUCHDB_PORT, COUCHDB_PATH and COUCHDB_SECURE"


class Kind(Enum):
    """What is wrong: the first five with the server, the others with one database."""

    AWAY = auto()
    """It does not answer now, and may later."""
    UNTRUSTED = auto()
    """Its certificate is refused; which may be mended there, while we wait."""
    SCHEME = auto()
    """http where https is spoken, or the reverse."""
    STRANGER = auto()
    """Something answers that is not CouchDB."""
    LOGIN = auto()
    MISSING = auto()
    CLOSED = auto()
    """The login works, and this is not allowed to it."""
    POSITION = auto()
    """The sequence that was asked for is none of this server's."""


OF_SERVER = (Kind.AWAY, Kind.UNTRUSTED, Kind.SCHEME, Kind.STRANGER, Kind.LOGIN)


@dataclass(frozen=True)
class Trouble:
    """What is wrong, in one line, and what to do."""

    kind: Kind
    message: str
    remedy: str

    @property
    def line(self) -> str:
        return f"{self.message}; {self.remedy}"


class CouchdbAccess:
    """What one login finds at the settings' CouchDB; not for several threads at once.

    `trouble` is what is wrong with the server itself; from then on it is every answer, and nobody is asked.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        user, password = settings.couchdb_user, settings.couchdb_password
        self._url = settings.couchdb_url
        self._refusal = RememberedRefusal(settings.data_folder, self._url, user, password)
        self._session = requests.Session()
        self._session.trust_env = False  # as the pipelines ask
        self._session.auth = basic(user, password)
        self._session.verify = settings.couchdb_ca_file or True
        self._works = False
        self.trouble: Trouble | None = None
        self.seconds_ahead: float | None = None
        """How far the server's clock is ahead of ours, of the last answer that told; to a second."""

    def __enter__(self) -> CouchdbAccess:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._session.close()

    def database(self, name: str) -> dict[str, Any] | Trouble:
        """What `GET /{db}` tells of a database."""
        return self._ask(name, "", {})

    def changes(self, name: str, since: str = "0") -> dict[str, Any] | Trouble:
        """The end of the feed after `since`, without a single change: `pending` says how many wait."""
        return self._ask(name, "/_changes", {"limit": "0", "since": since})

    def near(self, name: str) -> list[str]:
        """Databases whose names are nearly this one; none where this login may not list them."""
        answer = self._get("/_all_dbs", {})
        names = _json(answer) if answer is not None and answer.status_code == requests.codes.ok else None
        known = [one for one in names if isinstance(one, str)] if isinstance(names, list) else []
        return difflib.get_close_matches(name, known, n=3, cutoff=0.6)

    def welcome(self) -> bytes:
        """What `GET /` tells of the server; empty where a proxy keeps that to itself."""
        answer = self._get("/", {})
        return answer.content if answer is not None and answer.status_code == requests.codes.ok else b""

    def _ask(self, name: str, path: str, query: dict[str, str]) -> dict[str, Any] | Trouble:
        if self.trouble is None and not self._works and self._refusal.lasts():
            self.trouble = Trouble(
                Kind.LOGIN,
                f"CouchDB at {self._url} has refused the login of {self._user} and is not asked again for "
                "five minutes",
                f"{TO_CORRECT}: with others it is asked at once",
            )
        if self.trouble is not None:
            return self.trouble
        answer = self._get(f"/{quote(name, safe='')}{path}", query)
        if answer is None:
            return self.trouble or self._away("no answer")
        found = self._judged(answer, name, path)
        if isinstance(found, Trouble):
            if found.kind in OF_SERVER:
                self.trouble = found
        else:
            self._works = True
        return found

    def _get(self, path: str, query: dict[str, str]) -> requests.Response | None:
        """The answer; None where there is none, which `trouble` then tells."""
        before = time.time()
        try:
            answer = self._session.get(
                f"{self._url}{path}", params=query, timeout=REQUEST_TIMEOUT, allow_redirects=False
            )
        except (requests.RequestException, ValueError) as error:
            self.trouble = self._wrong_scheme() or self._untrusted(error) or self._away(type(error).__name__)
            return None
        self.seconds_ahead = seconds_ahead(answer, before)
        return answer

    def _judged(self, answer: requests.Response, name: str, path: str) -> dict[str, Any] | Trouble:
        said = _json(answer)
        body = said if isinstance(said, dict) else {}
        reason = _line(body.get("reason", "")) or f"HTTP {answer.status_code}"
        if answer.status_code in LATER or answer.status_code >= 500:
            return self._away(f"HTTP {answer.status_code}")
        if answer.status_code in REFUSED:
            return self._refused(answer.status_code, reason, name, path)
        if answer.status_code == requests.codes.ok and ("last_seq" if path else "doc_count") in body:
            return body
        if answer.status_code == NOT_FOUND and body.get("error") == "not_found":
            self._works = True
            return Trouble(
                Kind.MISSING,
                f"CouchDB at {self._url} has no database {name}",
                f"correct COUCHDB_DBS{' or COUCHDB_PATH' if self._settings.couchdb_path else ''}, or make it "
                "there",
            )
        if answer.status_code == requests.codes.bad_request and path and "error" in body:
            return Trouble(
                Kind.POSITION,
                f"CouchDB refuses the saved position of {name}: {reason}",
                f"read it again: cht-sync accept-server --from-start --database {name}",
            )
        return self._wrong_scheme() or Trouble(
            Kind.STRANGER,
            f"what answers at {self._url} is not CouchDB (HTTP {answer.status_code})",
            f"check {PLACE}",
        )

    def _refused(self, status: int, reason: str, name: str, path: str) -> Trouble:
        """A refused login; or, where that works, one database that is closed to it."""
        server = f"CouchDB at {self._url}"
        if not self._works and reason != NOT_ALLOWED_HERE:
            self._refusal.begin()
            return Trouble(Kind.LOGIN, f"{server} refuses the login of {self._user}: {reason}", TO_CORRECT)
        if path:
            return Trouble(
                Kind.CLOSED,
                f"{server}: {self._user} may read {name} but not its {path[1:]} (HTTP {status}: {reason})",
                "let COUCHDB_USER read it, in CouchDB or in the proxy before it",
            )
        self._works = True
        return Trouble(
            Kind.CLOSED,
            f"{server}: {self._user} may not read {name}",
            "add the user to the members in the database's security object",
        )

    def _wrong_scheme(self) -> Trouble | None:
        """What is said where another protocol is spoken there than the settings say; None where none is."""
        settings = self._settings
        found = spoken(settings.couchdb_host, settings.couchdb_port)
        place = f"{settings.couchdb_host}:{settings.couchdb_port}"
        wanted = Protocol.HTTPS if settings.couchdb_secure else Protocol.HTTP
        if found in (None, wanted):
            return None
        if found in (Protocol.HTTP, Protocol.HTTPS):
            secure = str(found is Protocol.HTTPS).lower()
            return Trouble(
                Kind.SCHEME,
                f"{place} speaks {found}, and it is asked by {wanted}: "
                f"COUCHDB_SECURE={str(settings.couchdb_secure).lower()}",
                f"set COUCHDB_SECURE={secure}, or correct COUCHDB_PORT",
            )
        return Trouble(
            Kind.STRANGER,
            f"what answers at {place} is not CouchDB: it speaks {found}",
            "correct COUCHDB_HOST and COUCHDB_PORT",
        )

    def _untrusted(self, error: Exception) -> Trouble | None:
        refusal = authorities.refusal(error, file="COUCHDB_CA_FILE", host="COUCHDB_HOST")
        if refusal is None:
            return None
        why, sentence = refusal
        remedy = sentence[:1].lower() + sentence[1:].rstrip(".")
        return Trouble(Kind.UNTRUSTED, f"CouchDB at {self._url}: {why}", remedy)

    def _away(self, why: str) -> Trouble:
        return Trouble(
            Kind.AWAY,
            f"CouchDB at {self._url} does not answer ({why})",
            "check COUCHDB_HOST and COUCHDB_PORT, the way there, and whether CouchDB runs",
        )

    @property
    def _user(self) -> str:
        return self._settings.couchdb_user


def seconds_ahead(answer: requests.Response, before: float) -> float | None:
    """How far the clock of who answered is ahead of ours; None where the answer has no date.

    `before` is our time when the request was sent. A date has whole seconds, so a half is added.
    """
    try:
        there = parsedate_to_datetime(answer.headers["Date"]).timestamp() + 0.5
    except (KeyError, ValueError):
        return None
    return there - (before + time.time()) / 2


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _line(value: object) -> str:
    return " ".join(str(value).split())[:200]
