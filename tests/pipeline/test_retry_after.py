"""A CouchDB and a PostgREST that ask to be left alone for a while are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_couchdb import FakeCouchdb, fake_couchdb
from http_server import http_server
from test_couchdb_modes import Reading
from test_http_refusals import Timed

from cht_sync import backoff
from cht_sync.errors import SourceUnavailable
from cht_sync.pipeline.couchdb.client import CouchdbClient, Server
from cht_sync.pipeline.couchdb.login import LoginGate
from cht_sync.pipeline.couchdb.reader import ChangesReader
from cht_sync.pipeline.postgrest.answers import failure
from cht_sync.pipeline.postgrest.connection import PostgrestConnection, Timeouts
from cht_sync.pipeline.postgrest.writer import Writer

PGRST001 = '{"code":"PGRST001","details":null,"hint":null,"message":"Database client error. Retrying."}'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "delays", lambda **_: iter([0.01] * 100))


@pytest.mark.parametrize(
    ("status", "asked", "waited"), [(503, "7", 7), (429, "7", 7), (503, "0", 0.01), (503, "86400", 300)]
)
def test_postgrest_gets_the_time_that_it_asks_for_within_bounds(
    status: int, asked: str, waited: float
) -> None:
    stored = {"status": 201, "headers": {"Preference-Applied": "resolution=merge-duplicates"}}
    busy = {"status": status, "headers": {"Retry-After": asked}, "body": PGRST001}
    with http_server([busy, stored]) as server:
        writer = Writer(
            PostgrestConnection(server.url, None, Timeouts(5, 5)), server.url, f"{server.url}/medic"
        )
        stop = Timed()
        assert writer.write([], None, stop)
        assert stop.waits == [waited]


@pytest.mark.parametrize("body", [PGRST001.encode(), b"<html>come back later</html>"])
def test_a_proxy_that_speaks_for_postgrest_may_ask_too(body: bytes) -> None:
    refusal = failure(503, {"Retry-After": "12"}, body, "merge-duplicates")
    assert refusal is not None
    assert refusal.pause == 12


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCouchdb]:
    """A CouchDB whose first answer to a path is 429, where the path is in `outage_of`."""
    with fake_couchdb() as couchdb:
        original = couchdb.RequestHandlerClass._answer  # type: ignore[attr-defined]
        couchdb.outage_of = set()  # type: ignore[attr-defined]

        def answer(handler: Any, method: str) -> None:
            path = handler.path.partition("?")[0]
            if path not in handler.server.outage_of:
                original(handler, method)
                return
            handler.server.outage_of.remove(path)
            handler.send_response(429)
            handler.send_header("Retry-After", "9")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        monkeypatch.setattr(couchdb.RequestHandlerClass, "_answer", answer)
        couchdb.write("a")
        yield couchdb


def test_a_feed_waits_as_long_as_couchdb_asks(
    busy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(ChangesReader, "_pause", lambda _self, _failure, seconds: waited.append(seconds))
    busy.outage_of = {"/medic/_changes"}
    one = Reading(tmp_path, busy.port, mode="normal")
    one.to_the_end()
    one.close()
    assert one.ids == ["a"]
    assert waited == [9]


@pytest.mark.parametrize("path", ["/medic", "/"])
def test_couchdb_may_ask_for_time_before_it_says_who_it_is(busy: Any, path: str) -> None:
    busy.outage_of = {path}
    client = CouchdbClient(Server(f"http://127.0.0.1:{busy.port}", "medic", "", ""), LoginGate(""))
    with pytest.raises(SourceUnavailable) as refusal:
        client.identity(threading.Event())
    client.close()
    assert refusal.value.pause == 9
