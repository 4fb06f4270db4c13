"""Whatever answers in the place of PostgREST or another server is an answer, or an error in words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cht_sync.errors import DeliveryError, sentences
from cht_sync.pipeline.http.client import Answer, Behaviour, HttpClient, NoAnswer, Request, Unsendable
from cht_sync.pipeline.http.tls import Tls
from cht_sync.pipeline.postgrest.connection import PostgrestConnection, Timeouts
from cht_sync.tokens import TokenSource

from .raw_server import RawServer, answers
from .searching import TIMEOUT, searches

pytestmark = pytest.mark.timeout(TIMEOUT)

MANY = 3_000
SECRET = "a-secret-of-tests-that-is-long-enough-0123456789"
CODES = ["22P05", "PT409", "PGRST301", "PGRST102", "57014", "XX000", "", "\\u0000", "\\ud800", "x" * 99]
odd = st.sampled_from(
    [b"null", b"7", b"[]", b'""', b"\xff", b"{", b'"\\ud800"', b'{"a":' * MANY, b"[" * MANY]
)
bodies = (
    odd
    | st.binary(max_size=40)
    | st.builds(
        lambda code, message, details: (
            b'{"code":"%b","message":%b,"details":%b}' % (code.encode(), message, details)
        ),
        st.sampled_from(CODES),
        odd | st.just(b'"said"'),
        odd | st.just(b'"more"'),
    )
    | st.builds(lambda row: b'[{"epoch":%b}]' % row, odd)
)


@pytest.fixture(scope="module")
def raw_server() -> Iterator[RawServer]:
    server = RawServer()
    yield server
    server.close()


@searches(200)
@given(answers(bodies) | st.binary(max_size=60))
def test_any_bytes_on_the_line_are_an_answer_or_an_error_in_words(raw_server: RawServer, said: bytes) -> None:
    raw_server.said = said
    url = f"http://127.0.0.1:{raw_server.port}"
    connection = PostgrestConnection(url, TokenSource(SECRET, "ingest"), Timeouts(5, 20))
    with pytest.raises(DeliveryError) as failed:
        connection.insert(f"{url}/medic", b"[]", {})
    assert SECRET not in sentences(failed.value)
    try:
        assert isinstance(connection.select("couchdb_progress", ["epoch"], source="x"), list)
    except DeliveryError as error:
        assert "\n" not in sentences(error)
    connection.close()


@searches(200)
@given(answers(bodies) | st.binary(max_size=60), st.sampled_from(["GET", "POST", "HEAD"]))
def test_any_bytes_are_an_answer_of_a_server_or_none(raw_server: RawServer, said: bytes, method: str) -> None:
    raw_server.said = said
    client = HttpClient(
        Behaviour(
            connect_timeout=5, socket_timeout=5, hosts=1, per_host=1, keepalive=True, repeats=0,
            repeats_all=False, follows_redirects=True, cookies=True, proxy=None, tls=Tls().context(),
        )
    )  # fmt: skip
    try:
        answer = client.send(Request(method, f"http://127.0.0.1:{raw_server.port}/", {}, None))
        assert isinstance(answer, Answer)
    except (NoAnswer, Unsendable) as error:
        assert str(error)
    client.close()
