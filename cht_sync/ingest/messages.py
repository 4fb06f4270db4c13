"""HTTP requests and answers as the rest of the server sees them, to and from WSGI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.client import responses
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from cht_sync.ingest.errors import ApiError

if TYPE_CHECKING:
    from _typeshed.wsgi import InputStream, StartResponse, WSGIEnvironment

JSON = "application/json; charset=utf-8"
WITHOUT_PREFIX = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}


@dataclass(frozen=True)
class Request:
    """`path` is as sent (percent-encoded); `segments` are its decoded parts; headers in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    stream: InputStream

    @classmethod
    def from_wsgi(cls, environ: WSGIEnvironment) -> Request:
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        headers |= {short: environ[name] for name, short in WITHOUT_PREFIX.items() if environ.get(name)}
        path, _, query = str(environ["REQUEST_URI"]).partition("?")
        return cls(environ["REQUEST_METHOD"], path, query, headers, environ["wsgi.input"])

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's parts; a slash inside a name is sent as %2F and does not divide."""
        parts = self.path.removeprefix("/").split("/")
        return tuple(unquote_to_bytes(part).decode(errors="replace") for part in parts)

    def body(self, *, at_most: int) -> bytes:
        """Read the body; raises ApiError 413 above the limit.

        The code is that of "program limit exceeded": a client that goes by codes takes it for the
        fault of what it has sent, as it should.
        """
        length = int(self.headers.get("content-length", "0"))
        if length > at_most:
            raise ApiError(
                413,
                "54000",
                f"The body has {length} bytes; this server takes {at_most}",
                hint="Send smaller batches.",
            )
        return self.stream.read(length)


@dataclass(frozen=True)
class Response:
    """An answer; `content_type` None for one without a body."""

    status: int
    body: bytes = b""
    content_type: str | None = JSON
    headers: tuple[tuple[str, str], ...] = field(default=())

    @classmethod
    def of_error(cls, error: ApiError) -> Response:
        headers = (("Proxy-Status", f"PostgREST; error={error.code}"), *error.headers)
        return cls(error.status, error.body(), headers=headers)

    def to_wsgi(self, start_response: StartResponse, *, head: bool) -> Iterable[bytes]:
        """Send it; to a HEAD request without its body."""
        headers = [(name, _latin(value)) for name, value in self.headers]
        if self.content_type is not None:
            headers.append(("Content-Type", self.content_type))
        headers.append(("Content-Length", str(len(self.body))))
        start_response(f"{self.status} {responses.get(self.status, 'Status')}", headers)
        return [] if head else [self.body]


def _latin(value: str) -> str:
    """Text that may stand in a header: one line, bytes of UTF-8 as WSGI wants them."""
    return "".join(value.splitlines()).encode(errors="replace").decode("latin-1")
