"""What `status` asks CouchDB: how many documents there are, and how many changes wait.

A refused login is remembered: for five minutes nobody tries again, however often `status` is called.
"""

from __future__ import annotations

from urllib.parse import quote

import requests

from cht_sync import authorities
from cht_sync.logins import basic
from cht_sync.pipeline.couchdb.refusals import RememberedRefusal
from cht_sync.settings import Settings

REQUEST_TIMEOUT = 5.0
UNAUTHORIZED = 401


class CouchdbCounts:
    """Asks with the settings' login; what goes wrong is added to `problems`, once."""

    def __init__(self, settings: Settings, problems: list[str]) -> None:
        self._settings = settings
        self._problems = problems
        login = (settings.couchdb_user, settings.couchdb_password)
        self._auth = basic(*login)
        self._refusal = RememberedRefusal(settings.data_folder, settings.couchdb_url, *login)

    def ask(self, database: str, sequence: str | None) -> tuple[int | None, int | None]:
        """Return the number of documents and of changes after `sequence`; None for what is not told."""
        if self._refusal.lasts():
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
                self._refusal.begin()
                return self.ask(database, sequence)
            self._complain(f"CouchDB answers {status} for {database}")
        except requests.RequestException as error:
            told = authorities.refusal(error, file="COUCHDB_CA_FILE", host="COUCHDB_HOST")
            self._complain(f"CouchDB does not answer: {'. '.join(told) if told else type(error).__name__}")
        except (ValueError, KeyError, AttributeError):
            self._complain(f"what answers for {database} is not CouchDB")
        else:
            return documents, pending
        return None, None

    def _get(self, address: str, query: dict[str, str]) -> dict[str, int]:
        with requests.Session() as session:
            session.trust_env = False  # as the pipelines ask
            session.verify = self._settings.couchdb_ca_file or True
            answer = session.get(
                address, params=query, auth=self._auth, timeout=REQUEST_TIMEOUT, allow_redirects=False
            )
        answer.raise_for_status()
        found: dict[str, int] = answer.json()
        return found

    def _complain(self, problem: str) -> None:
        if problem not in self._problems:
            self._problems.append(problem)
