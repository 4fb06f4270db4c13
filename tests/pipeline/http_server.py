"""A real HTTP server that answers by a list, and keeps what it was asked."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from loopback_server import LoopbackServer, serving

CHUNK = 1 << 20


@dataclass(frozen=True)
class Asked:
    """One request; the address as it came in the request line, headers in order."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int

    def header(self, name: str) -> str | None:
        return next((text for known, text in self.headers if known.lower() == name.lower()), None)


class HttpServer(LoopbackServer):
    """Answers are dicts: `status`, `headers`, `body`, `delay_s`; or `connection`: what happens to it.

    They are given in order, the last one again and again. Large bodies are not kept.
    """

    def __init__(self, answers: Sequence[dict[str, Any]] = ({"status": 200},)) -> None:
        super().__init__(_Handler)
        self.answers = list(answers)
        self.requests: list[Asked] = []
        self.connections = 0
        self.arrived = threading.Condition()

    def handle_error(self, *_: Any) -> None:
        """A client that breaks off is no news."""

    def keep(self, request: Asked) -> dict[str, Any]:
        with self.arrived:
            self.requests.append(request)
            self.arrived.notify_all()
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpServer

    def setup(self) -> None:
        super().setup()
        with self.server.arrived:
            self.server.connections += 1
            self.number = self.server.connections

    def answer(self) -> None:
        left = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(left) if left <= CHUNK else b""
        left -= len(body)
        while left:
            left -= len(self.rfile.read(min(left, CHUNK)))
        given = self.server.keep(
            Asked(self.command, self.path, list(self.headers.items()), body, self.number)
        )
        if self._breaks(given.get("connection", "")):
            return
        self.server.over.wait(given.get("delay_s", 0))
        content = given.get("body", "").encode()
        self.send_response(given["status"])
        for name, text in given.get("headers", {}).items():
            self.send_header(name, text)
        if given["status"] != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def _breaks(self, how: str) -> bool:
        if not how:
            return False
        if how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how.startswith("no answer"):
            self.server.over.wait(float(how.split()[-2]))
        self.close_connection = True
        return True

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def http_server(
    answers: Sequence[dict[str, Any]] = ({"status": 200},), tls: ssl.SSLContext | None = None
) -> Iterator[HttpServer]:
    server = HttpServer(answers)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with serving(server):
        yield server


def server_tls(certificates: Path, *, asks: bool = False) -> ssl.SSLContext:
    """What a server of the fixture `certificates` shows; with `asks` it wants the client's, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    if asks:
        context.load_verify_locations(certificates / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context
