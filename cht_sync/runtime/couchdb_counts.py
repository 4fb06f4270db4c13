"""What `status` asks CouchDB: how many documents there are, and how many changes wait.

A refused login is remembered in a file: CouchDB locks an account after six wrong passwords, so for five
minutes nobody here tries again, however often `status` is called.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from urllib.parse import quote

import msgspec
import requests

from cht_sync.files import private_folder, write_atomically
from cht_sync.settings import Settings

REQUEST_TIMEOUT = 5.0
PAUSE = 300.0
"""Seconds after a refused login."""
UNAUTHORIZED = 401
REFUSAL_FILE = "couchdb-login-refused.json"


class _Refusal(msgspec.Struct):
    at: float
    login: str
    """A digest of address, user and password: with another password the pause is over."""


class CouchdbCounts:
    """Asks with the settings' login; what goes wrong is added to `problems`, once."""

    def __init__(self, settings: Settings, problems: list[str]) -> None:
        self._settings = settings
        self._problems = problems
        self._file: Path = settings.data_folder / REFUSAL_FILE
        self._auth = (settings.couchdb_user, settings.couchdb_password)
        self._login = hashlib.sha256("\0".join((settings.couchdb_url, *self._auth)).encode()).hexdigest()

    def ask(self, database: str, sequence: str | None) -> tuple[int | None, int | None]:
        """Return the number of documents and of changes after `sequence`; None for what is not told."""
        if self._refused():
            self._complain(
                f"CouchDB refuses the login of {self._settings.couchdb_user}; not tried for five minutes"
            )
            return None, None
        address = f"{self._settings.couchdb_url}/{quote(database, safe='')}"
        try:
            documents = int(self._get(address, {})["doc_count"])
            if sequence is None:
                return documents, None
            pending = self._get(f"{address}/_changes", {"limit": "0", "since": sequence}).get("pending")
        except requests.HTTPError as error:
            status = error.response.status_code
            if status == UNAUTHORIZED:
                self._remember()
                return self.ask(database, sequence)
            self._complain(f"CouchDB answers {status} for {database}")
        except requests.RequestException as error:
            self._complain(f"CouchDB does not answer: {type(error).__name__}")
        except (ValueError, KeyError, AttributeError):
            self._complain(f"what answers for {database} is not CouchDB")
        else:
            return documents, pending
        return None, None

    def _get(self, address: str, query: dict[str, str]) -> dict[str, int]:
        answer = requests.get(address, params=query, auth=self._auth, timeout=REQUEST_TIMEOUT)
        answer.raise_for_status()
        found: dict[str, int] = answer.json()
        return found

    def _complain(self, problem: str) -> None:
        if problem not in self._problems:
            self._problems.append(problem)

    def _refused(self) -> bool:
        try:
            refusal = msgspec.json.decode(self._file.read_bytes(), type=_Refusal)
        except (FileNotFoundError, msgspec.DecodeError):
            return False
        return refusal.login == self._login and 0 <= time.time() - refusal.at < PAUSE

    def _remember(self) -> None:
        private_folder(self._file.parent)
        write_atomically(self._file, msgspec.json.encode(_Refusal(time.time(), self._login)))
