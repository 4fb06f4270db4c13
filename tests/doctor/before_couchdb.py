"""A door before a real CouchDB: it passes requests on, refuses some, and may tell another time."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler

import requests
from loopback_server import LoopbackServer

Answer = tuple[int, str]


class BeforeCouchdb(LoopbackServer):
    """`asked` are the paths of all requests; `answers` gives another answer to some of them."""

    def __init__(self, server: str) -> None:
        super().__init__(_Handler)
        self.server = server
        self.asked: list[str] = []
        self.answers: Callable[[str], Answer | None] = lambda _path: None
        self.seconds_ahead = 0.0

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing is said of clients that speak another protocol, as some do here on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: BeforeCouchdb

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answer = self.server.answers(self.path)
        if answer is None:
            login = {"Authorization": self.headers.get("Authorization", "")}
            real = requests.get(f"{self.server.server}{self.path}", headers=login, timeout=20)
            answer = real.status_code, real.text
        status, body = answer
        self.send_response_only(status)
        self.send_header("Date", formatdate(time.time() + self.server.seconds_ahead, usegmt=True))
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: object) -> None:
        pass
