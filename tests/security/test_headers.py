"""What comes out of a document or of an answer never becomes a header of its own."""

from __future__ import annotations

import pytest
from ingest.ingest_support import Client
from pipeline.http_server import http_server

from cht_sync.pipeline.http.client import Behaviour, HttpClient, NoAnswer, Request, Unsendable
from cht_sync.pipeline.http.tls import Tls

SPLITTING = [
    "a\r\nX-Injected: 1",
    "a\nX-Injected: 1",
    "a\rX-Injected: 1",
    "a\r\n\r\nGET / HTTP/1.1",
    "a\0b",
    "\r\n",
    "a\n X-Injected: 1",
]


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(
        Behaviour(
            connect_timeout=5, socket_timeout=5, hosts=1, per_host=1, keepalive=True, repeats=0,
            repeats_all=False, follows_redirects=True, cookies=True, proxy=None, tls=Tls().context(),
        )
    )  # fmt: skip


@pytest.mark.parametrize("text", SPLITTING)
def test_a_value_from_an_event_cannot_split_a_request(client: HttpClient, text: str) -> None:
    with http_server() as server:
        for headers, path in (({"X-From-Event": text}, "/"), ({text: "x"}, "/"), ({}, f"/{text}")):
            with pytest.raises(Unsendable):
                client.send(Request("POST", f"{server.url}{path}", headers, b"{}"))
        assert server.requests == []


@pytest.mark.parametrize("text", SPLITTING)
def test_a_redirection_cannot_split_a_request(client: HttpClient, text: str) -> None:
    answers = [
        {"status": 302, "headers": {"Location": f"/{text.replace(chr(13), '').replace(chr(10), '%0a')}"}}
    ]
    with http_server([*answers, {"status": 200}]) as server:
        try:
            client.send(Request("GET", f"{server.url}/", {}, None))
        except Unsendable:
            return
        assert all("X-Injected" not in one.headers for one in server.requests)


@pytest.mark.parametrize("place", ["/docs?select={}", "/{}", "/docs?on_conflict={}", "/docs?order=_id.{}"])
def test_what_is_asked_for_cannot_split_an_answer(ingest: Client, place: str) -> None:
    for text in ("%0d%0aX-Injected:%201", "%0aX-Injected:%201", "%e5%98%8a%e5%98%8dX-Injected:%201", "%00"):
        answer = ingest.get(place.format(text))
        assert answer.status < 500
        assert "X-Injected" not in answer.headers


def test_a_preference_that_is_unknown_cannot_split_an_answer(ingest: Client) -> None:
    for name in ("Prefer", "Accept-Profile", "Accept", "Origin", "Access-Control-Request-Headers"):
        answer = ingest.send("GET", "/docs", headers={name: "handling=strict, x\x85X-Injected: 1"})
        assert "X-Injected" not in answer.headers


@pytest.mark.parametrize(
    "location", ["http://[", "http://[::1", "//[", "http://a:b/", "\xff", "http://", "ftp://x/"]
)
def test_a_redirection_to_what_is_no_address_is_an_answer_in_words(client: HttpClient, location: str) -> None:
    with http_server([{"status": 302, "headers": {"Location": location}}, {"status": 200}]) as server:
        try:
            client.send(Request("GET", f"{server.url}/", {}, None))
        except (Unsendable, NoAnswer) as error:
            assert "\n" not in str(error)
