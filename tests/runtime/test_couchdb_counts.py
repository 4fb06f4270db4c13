"""`status` must never be the one that locks an operator's CouchDB account."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from loopback_server import LoopbackServer, serving

from cht_sync.environments import Environment
from cht_sync.runtime.couchdb_counts import CouchdbCounts
from cht_sync.settings import Settings, load


class Refusing(LoopbackServer):
    """A CouchDB that refuses every login, and counts them."""

    def __init__(self) -> None:
        self.asked = 0
        super().__init__(_Refuse)


class _Refuse(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Refusing)
        self.server.asked += 1
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing() -> Iterator[Refusing]:
    with serving(Refusing()) as server:
        yield server


def settings(home: Path, server: Refusing, password: str = "wrong") -> Settings:
    environ = {
        "COUCHDB_HOST": "127.0.0.1",
        "COUCHDB_PORT": str(server.server_port),
        "COUCHDB_PASSWORD": password,
    }
    return load(Environment.LOCAL, home=home, environ=environ)


def test_a_refused_login_is_tried_once_for_all_databases_and_calls(
    refusing: Refusing, tmp_path: Path
) -> None:
    for _call in range(3):
        problems: list[str] = []
        counts = CouchdbCounts(settings(tmp_path, refusing), problems)
        assert [counts.ask(name, None) for name in ("medic", "medic-sentinel")] == [(None, None)] * 2
        (problem,) = problems
        assert "refuses the login of medic" in problem
        assert "wrong" not in problem
    assert refusing.asked == 1


def test_another_password_is_tried_at_once(refusing: Refusing, tmp_path: Path) -> None:
    CouchdbCounts(settings(tmp_path, refusing), []).ask("medic", None)
    CouchdbCounts(settings(tmp_path, refusing, "another"), []).ask("medic", None)
    assert refusing.asked == 2


def test_a_server_that_does_not_answer_is_one_problem(refusing: Refusing, tmp_path: Path) -> None:
    unreachable = settings(tmp_path, refusing)
    refusing.socket.close()
    problems: list[str] = []
    counts = CouchdbCounts(unreachable, problems)
    assert [counts.ask(name, "1") for name in ("medic", "medic-sentinel")] == [(None, None)] * 2
    assert problems == ["CouchDB does not answer: ConnectionError"]
