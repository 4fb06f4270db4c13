"""What a failed request was to send is let go at once, not when Python's collector of cycles comes by.

The engine has the collector run rarely (`interpreter`), and an outage may last for days.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from cht_sync.errors import DestinationUnavailable
from cht_sync.pipeline.http.client import Behaviour, HttpClient, NoAnswer, Request
from cht_sync.pipeline.postgrest.connection import PostgrestConnection, Timeouts

FAILURES = 3
Post = Callable[[str, bytes], None]


@pytest.fixture(params=["refuses", "hangs up"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a server that refuses connections, or ends each of them without an answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if request.param == "refuses":
        listener.close()
        yield f"http://127.0.0.1:{port}"
        return

    def hang_up() -> None:
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    yield f"http://127.0.0.1:{port}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def to_postgrest(address: str, body: bytes) -> None:
    connection = PostgrestConnection(address, None, Timeouts(5, 5))
    with contextlib.suppress(DestinationUnavailable):
        connection.insert(f"{address}/medic", body, {})
        pytest.fail("it was stored")
    connection.close()


def to_any_server(address: str, body: bytes) -> None:
    behaviour = Behaviour(
        connect_timeout=5,
        socket_timeout=5,
        hosts=1,
        per_host=1,
        keepalive=True,
        repeats=0,
        repeats_all=False,
        follows_redirects=False,
        cookies=False,
        proxy=None,
        tls=ssl.create_default_context(),
    )
    client = HttpClient(behaviour)
    with contextlib.suppress(NoAnswer):
        client.send(Request("POST", address, {}, body))
        pytest.fail("it was answered")
    client.close()


@pytest.mark.parametrize("post", [to_postgrest, to_any_server])
def test_a_failed_request_keeps_nothing_of_its_body(address: str, post: Post) -> None:
    body = b"[" + b" " * 1000 + b"]"
    gc.collect()
    before = sys.getrefcount(body)
    gc.disable()
    try:
        for _failure in range(FAILURES):
            post(address, body)
        assert sys.getrefcount(body) == before
    finally:
        gc.enable()
