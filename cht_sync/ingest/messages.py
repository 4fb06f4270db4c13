"""HTTP requests and answers as the rest of the server sees them, to and from WSGI."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import responses
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from cht_sync.ingest.errors import ApiError
from cht_sync.ingest.media_types import JSON, content_type

if TYPE_CHECKING:
    from _typeshed.wsgi import InputStream, StartResponse, WSGIEnvironment

ABSOLUTE = re.compile(r"^https?://[^/?]*", re.IGNORECASE)
"""What a proxy may send before the path."""
WITHOUT_PREFIX = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}
CHUNK = 4 * 1024 * 1024
WHITESPACE = b" \t\r\n"


class Body:
    """A request's body, which can be read more than once and is kept by nobody but its stream."""

    def __init__(self, stream: InputStream, length: int) -> None:
        self._stream: Any = stream
        self.length = length

    @property
    def is_object(self) -> bool:
        """Whether it looks like an object; that it is JSON at all is for PostgreSQL to judge."""
        self._stream.seek(0)
        beginning: bytes = self._stream.read(64).lstrip(WHITESPACE)
        return beginning.startswith(b"{")

    def read(self) -> bytes:
        self._stream.seek(0)
        whole: bytes = self._stream.read(self.length)
        return whole

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The whole, without a copy where it is in memory anyway, else in pieces."""
        if isinstance(self._stream, io.BytesIO):
            yield self._stream.getbuffer()
            return
        self._stream.seek(0)
        while chunk := self._stream.read(CHUNK):
            yield chunk


@dataclass(frozen=True)
class Request:
    """`path` is as sent (percent-encoded); `segments` are its decoded parts; headers in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    stream: InputStream
    abandoned: Callable[[], bool]
    """Whether the client has closed the connection."""

    @classmethod
    def from_wsgi(cls, environ: WSGIEnvironment) -> Request:
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        headers |= {short: environ[name] for name, short in WITHOUT_PREFIX.items() if environ.get(name)}
        path, _, query = ABSOLUTE.sub("", str(environ["REQUEST_URI"])).partition("?")
        return cls(
            environ["REQUEST_METHOD"],
            path,
            query,
            headers,
            environ["wsgi.input"],
            environ.get("waitress.client_disconnected", lambda: False),
        )

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's parts; a slash inside a name is sent as %2F and does not divide."""
        parts = self.path.removeprefix("/").split("/")
        return tuple(unquote_to_bytes(part).decode(errors="replace") for part in parts)

    def body(self, *, at_most: int) -> Body:
        """The body; raises ApiError 413 above the limit.

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
        return Body(self.stream, length)


@dataclass(frozen=True)
class Response:
    """An answer; `content_type` None for one without a body."""

    status: int
    body: bytes = b""
    content_type: str | None = content_type(JSON)
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
