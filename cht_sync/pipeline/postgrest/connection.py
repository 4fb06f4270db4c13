"""HTTP requests to PostgREST. The HTTP library's errors become ours here and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
import requests

from cht_sync import authorities
from cht_sync.errors import DeliveryError, DestinationUnavailable
from cht_sync.pipeline.couchdb.hints import ENVIRONMENT
from cht_sync.pipeline.http.failed import let_go
from cht_sync.pipeline.postgrest.answers import LOGIN_FAILED, SUCCESS, failure
from cht_sync.tokens import TokenSource


@dataclass(frozen=True)
class Timeouts:
    """Seconds until a connection stands, and until an answer begins."""

    connect: float
    answer: float


class PostgrestConnection:
    """A keep-alive connection to the tables below one address; for one thread at a time.

    `session` brings what every request needs: TLS, a proxy, headers.
    """

    def __init__(
        self,
        base_url: str,
        tokens: TokenSource | None,
        timeouts: Timeouts,
        session: requests.Session | None = None,
    ) -> None:
        self._base_url = base_url
        self._tokens = tokens
        self._timeouts = (timeouts.connect, timeouts.answer)
        self._session = requests.Session() if session is None else session
        self._session.trust_env = False

    def insert(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        resolution: str = "merge-duplicates",
    ) -> None:
        """POST a JSON array of rows; returns once they are stored.

        A refused token is renewed once. Raises the DeliveryError that the answer means.
        """
        prefer = f"resolution={resolution},return=minimal"
        all_headers = {"Content-Type": "application/json", "Prefer": prefer, **headers}
        error = self._insert_once(url, body, all_headers, resolution)
        if error is not None and self._tokens is not None and error.code in ("PGRST301", "PGRST303"):
            self._tokens.renew()
            error = self._insert_once(url, body, all_headers, resolution)
        if error is not None:
            raise error

    def select(self, table: str, columns: Sequence[str], **equal: str) -> list[dict[str, Any]]:
        """GET the rows of a table in which each named column equals its text. Raises DeliveryError."""
        query = "&".join(
            [f"select={','.join(columns)}"]
            + [f"{column}=eq.{quote(value, safe='')}" for column, value in equal.items()]
        )
        return self._rows(f"{self._base_url}/{table}?{query}")

    def page(self, table_url: str, columns: Sequence[str], *, after: str, limit: int) -> list[dict[str, Any]]:
        """GET the rows of a table of documents behind `after`, in the order of `_id`, without tombstones.

        There may be fewer than `limit` before the end; at the end there are none. Raises DeliveryError.
        """
        query = f"select={','.join(columns)}&_deleted=is.false&order=_id&limit={limit}"
        if after:
            query += f"&_id=gt.{quote(after, safe='')}"
        return self._rows(f"{table_url}?{query}")

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()

    def _rows(self, url: str) -> list[dict[str, Any]]:
        table = url.partition("?")[0].rpartition("/")[2]
        response = self._request("GET", url, None, {})
        if response.status_code in LOGIN_FAILED and self._tokens is not None:
            self._tokens.renew()
            response = self._request("GET", url, None, {})
        if response.status_code in SUCCESS:
            try:
                return msgspec.json.decode(response.content, type=list[dict[str, Any]])
            except (msgspec.DecodeError, RecursionError) as error:
                raise DestinationUnavailable(f"{table}: the answer is no list of rows") from error
        refusal = failure(response.status_code, response.headers, response.content, "")
        raise refusal or DestinationUnavailable(f"{table}: answered {response.status_code}")

    def _insert_once(
        self, url: str, body: bytes, headers: Mapping[str, str], resolution: str
    ) -> DeliveryError | None:
        response = self._request("POST", url, body, headers)
        return failure(response.status_code, response.headers, response.content, resolution)

    def _request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> requests.Response:
        if self._tokens is not None:
            headers = {**headers, "Authorization": f"Bearer {self._tokens.token()}"}
        try:
            return self._session.request(
                method, url, data=body, headers=headers, timeout=self._timeouts, allow_redirects=False
            )
        except (requests.RequestException, ValueError) as error:
            # A ValueError is said of a redirection to what is no address, though none is followed.
            let_go(error)
            file, host = "HTTP_ENDPOINT_CA_FILE", "HTTP_ENDPOINT"
            if not os.environ.get(ENVIRONMENT):
                file, host = "ssl_certificate_authorities of http", "url of http"
            why, hint = authorities.refusal(error, file=file, host=host) or (_short(error), None)
            raise DestinationUnavailable(f"PostgREST does not answer: {why}", hint=hint) from error


def _short(error: Exception) -> str:
    reason = error.args[0] if error.args else error
    return str(getattr(reason, "reason", reason))[:200]
