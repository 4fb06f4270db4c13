"""A server that gives a recorded feed and costs next to nothing, so that the source is not what is measured.

It speaks what the input asks for: `/`, `/{db}`, and `/{db}/_changes` in pages and as a continuous feed
without changes. Pages go from the file to the socket in the kernel.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench.suite.data import ROW_END, SEQUENCE, FeedFile

VENDOR = b"The Apache Software Foundation"
WELCOME = b'{"couchdb":"Welcome","version":"3.4.3","uuid":"bench","vendor":{"name":"%s"}}' % VENDOR
PAGE_BEGIN = b'{"results":[\n'


@contextmanager
def replaying(feed: FeedFile, shares: Mapping[str, range]) -> Iterator[int]:
    """Serve databases, each a range of the file's rows, in a process of its own; gives the port."""
    context = multiprocessing.get_context("spawn")
    ports, port = context.Pipe(duplex=False)
    server = context.Process(target=_serve, args=(feed, dict(shares), port), daemon=True)
    server.start()
    try:
        yield int(ports.recv())
    finally:
        server.terminate()
        server.join()


def _serve(feed: FeedFile, shares: dict[str, range], port: Connection) -> None:
    file = feed.path.open("rb")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            database, _slash, what = parts.path.strip("/").partition("/")
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if database == "":
                self._send(WELCOME)
            elif what == "":
                self._send(b'{"db_name":"%s","instance_start_time":"1700000000"}' % database.encode())
            elif query.get("feed") == "continuous":
                self._wait(float(query["heartbeat"]) / 1000)
            else:
                self._page(shares[database], query)

        def _page(self, share: range, query: Mapping[str, str]) -> None:
            first = max(share.start, int(query["since"].partition("-")[0]))
            last = min(share.stop, first + int(query["limit"]))
            begin, end = feed.offsets[first], feed.offsets[last]
            if last > first:
                end -= len(ROW_END)
            rest = f'\n],\n"last_seq":"{last}-{SEQUENCE}","pending":{share.stop - last}}}\n'.encode()
            self._head(len(PAGE_BEGIN) + end - begin + len(rest))
            self.wfile.write(PAGE_BEGIN)
            self.wfile.flush()
            while begin < end:
                begin += os.sendfile(self.connection.fileno(), file.fileno(), begin, end - begin)
            self.wfile.write(rest)

        def _wait(self, heartbeat: float) -> None:
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(b"\n")
                    self.wfile.flush()
                    time.sleep(heartbeat)

        def _send(self, body: bytes) -> None:
            self._head(len(body))
            self.wfile.write(body)

        def _head(self, length: int) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that was stopped goes away."""

        request_queue_size = 128

        def server_bind(self) -> None:
            super().server_bind()
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    server = Server(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()
