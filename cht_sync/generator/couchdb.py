"""The little of CouchDB's protocol that the generator speaks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
import requests

from cht_sync.errors import ChtSyncError, LoginRefused, SourceUnavailable
from cht_sync.generator.origin import Document
from cht_sync.logins import basic

TIMEOUT = (5.0, 120.0)
"""Seconds for connecting, and for each silence of the server."""


@dataclass(frozen=True)
class State:
    """What the server holds of a document now."""

    revision: str
    deleted: bool

    @property
    def generation(self) -> int:
        """How often the document was written."""
        return int(self.revision.split("-", 1)[0])


class Client:
    """One server and one login; not to be shared by threads.

    Every method raises SourceUnavailable where the server does not answer or fails (the same call
    may succeed later), LoginRefused, and ChtSyncError for what trying again cannot mend, such as a
    missing database.
    """

    def __init__(self, url: str, user: str, password: str, ca_file: str = "") -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        # Told outright, or a .netrc or a proxy of the environment would have its say.
        self._session.trust_env = False
        self._session.auth = basic(user, password)
        self._session.verify = ca_file or True
        self._session.headers["Accept"] = "application/json"

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()

    def create_database(self, database: str) -> bool:
        """Create a database; False where it exists already."""
        return self._request("PUT", _path(database), accept=(201, 202, 412)).status_code != 412

    def delete_database(self, database: str) -> bool:
        """Delete a database; False where there is none."""
        return self._request("DELETE", _path(database), accept=(200, 202, 404)).status_code != 404

    def states(self, database: str, ids: Sequence[str]) -> dict[str, State]:
        """Return the state of every document that exists, or did and was deleted."""
        return {
            row["id"]: State(row["value"]["rev"], row["value"].get("deleted", False))
            for row in self._rows(database, ids)
        }

    def documents(self, database: str, ids: Sequence[str]) -> dict[str, Document]:
        """Return the documents that exist, with their `_rev`."""
        rows = self._rows(database, ids, include_docs="true")
        return {row["id"]: row["doc"] for row in rows if row.get("doc")}

    def write(self, database: str, documents: Sequence[Document]) -> set[str]:
        """Write documents with `_bulk_docs`; return the ids that were written.

        A document whose `_rev` is not the current one is not written, which is no error.
        """
        if not documents:
            return set()
        response = self._request(
            "POST", _path(database, "_bulk_docs"), {"docs": documents}, accept=(201, 202)
        )
        written = set()
        for result in msgspec.json.decode(response.content):
            if "error" not in result:
                written.add(result["id"])
            elif result["error"] != "conflict":
                raise ChtSyncError(
                    f"{database}: {result.get('id')} was refused: {result['error']}: {result.get('reason')}",
                    hint="the database may have a validate_doc_update function; generate into another one",
                )
        return written

    def local(self, database: str, name: str) -> Document | None:
        """Return the document `_local/<name>`, None where there is none."""
        response = self._request("GET", _path(database, "_local", name), accept=(200, 404))
        decoded: Document = msgspec.json.decode(response.content)
        # A missing document and a missing database are both a 404.
        if response.status_code == 404 and decoded.get("reason") not in {"missing", "deleted"}:
            raise _error(response, f"/{database}")
        return decoded if response.status_code == 200 else None

    def write_local(self, database: str, name: str, content: Document) -> None:
        """Replace the document `_local/<name>`."""
        current = self.local(database, name)
        revision = {} if current is None else {"_rev": current["_rev"]}
        self._request("PUT", _path(database, "_local", name), content | revision, accept=(201, 202))

    def _rows(self, database: str, ids: Sequence[str], **parameters: str) -> Iterable[dict[str, Any]]:
        if not ids:
            return ()
        response = self._request(
            "POST", _path(database, "_all_docs"), {"keys": ids}, accept=(200,), parameters=parameters
        )
        return (row for row in msgspec.json.decode(response.content)["rows"] if "error" not in row)

    def _request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        accept: tuple[int, ...],
        parameters: dict[str, str] | None = None,
    ) -> requests.Response:
        try:
            response = self._session.request(
                method,
                self.url + path,
                params=parameters,
                data=None if body is None else msgspec.json.encode(body),
                headers={"Content-Type": "application/json"} if body is not None else None,
                timeout=TIMEOUT,
                allow_redirects=False,
            )
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise SourceUnavailable(
                f"CouchDB at {self.url} does not answer", hint="check COUCHDB_HOST and COUCHDB_PORT"
            ) from error
        if response.status_code in accept:
            return response
        raise _error(response, path)


def _path(database: str, *parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in (database, *parts))


def _error(response: requests.Response, path: str) -> ChtSyncError:
    """Turn an unexpected answer into the error that says what to do about it."""
    status = response.status_code
    try:
        reason = str(msgspec.json.decode(response.content)["reason"])
    except (msgspec.DecodeError, KeyError, TypeError):
        reason = response.reason or "no reason given"
    if status in {401, 403}:
        return LoginRefused(
            f"CouchDB refuses the login: {reason}", hint="check COUCHDB_USER and COUCHDB_PASSWORD"
        )
    if status == 404:
        return ChtSyncError(
            f"CouchDB answers 404 to {path}: {reason}",
            hint="create the database, or name another one",
        )
    if status == 429 or status >= 500:
        return SourceUnavailable(f"CouchDB answers {status} to {path}: {reason}")
    return ChtSyncError(f"CouchDB answers {status} to {path}: {reason}")
