"""HTTP servers of tests: on a free port of loopback, started and stopped in one place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar


class LoopbackServer(ThreadingHTTPServer):
    """Handlers that keep a request waiting wait for `over`, which is set when the server is stopped."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.over = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def end_waiting(self) -> None:
        """Let go of the requests that are kept waiting."""
        self.over.set()


AnyServer = TypeVar("AnyServer", bound=LoopbackServer)


@contextmanager
def serving(server: AnyServer) -> Iterator[AnyServer]:
    """Serve until the block ends."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.end_waiting()
        server.shutdown()
        thread.join()
        server.server_close()
