"""`/metrics` and `/healthz` of a loop, served by a thread of its own."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Protocol

from prometheus_client import CONTENT_TYPE_LATEST

from cht_sync.accepting import PAUSE, SCARCE
from cht_sync.health import Health

LOOPBACK = ("127.0.0.1", "localhost")

log = logging.getLogger(__name__)


class Metrics(Protocol):
    """What is to be served."""

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""


@contextmanager
def serving(host: str, port: int, metrics: Metrics, health: Health, *, setting: str) -> Iterator[None]:
    """Serve until the block ends; `port` 0: not at all.

    A port that cannot be had is said in the log, with the setting that names it; the loop works all the same.
    """
    if not port:
        yield
        return
    try:
        server = _Server((host, port), type("Bound", (_Handler,), {"metrics": metrics, "health": health}))
    except OSError as error:
        log.warning(
            "no metrics: %s port %d: %s; set %s to another one",
            host,
            port,
            error.strerror or error,
            setting,
        )
        yield
        return
    if host not in LOOPBACK:
        log.warning("the metrics have no login; whoever reaches %s port %d reads them", host, port)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        # HTTPServer would ask the resolver for the host's name, which nobody needs and may take long.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def get_request(self) -> tuple[socket.socket, object]:
        """As in socketserver, which would try again at once where no file handle is left."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in SCARCE:
                time.sleep(PAUSE)
            raise

    def handle_error(self, request: object, client_address: object) -> None:
        """Say in a log line what socketserver would print with a traceback; a client may go at any time."""
        error = sys.exc_info()[1]
        if isinstance(error, ConnectionError | TimeoutError):
            log.debug("a client of the metrics went away: %s", type(error).__name__)
        else:
            log.error("the metrics could not be served: %s", type(error).__name__, exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    metrics: ClassVar[Metrics]
    health: ClassVar[Health]
    timeout = 10
    server_version = "cht-sync"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one of the two paths."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, self.metrics.text())
        elif path == "/healthz":
            reasons = self.health.reasons()
            status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
            self._json(status, {"status": "unwell" if reasons else "ok", "reasons": reasons})
        else:
            self._json(HTTPStatus.NOT_FOUND, {"status": "not found", "paths": ["/metrics", "/healthz"]})

    do_HEAD = do_GET

    def _json(self, status: HTTPStatus, answer: object) -> None:
        self._answer(status, "application/json", json.dumps(answer).encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody needs a line for each scrape."""
