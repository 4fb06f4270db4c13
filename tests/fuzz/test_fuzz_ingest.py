"""Whatever a client sends, the ingest server answers what it should have been, and goes on.

A 5xx is the server's own fault, but for those that PostgREST gives for the same input too.
"""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest.ingest_support import Client, installed, running, token, wait_until

from .searching import TIMEOUT, searches

pytestmark = pytest.mark.timeout(TIMEOUT)

PATIENCE = 20.0
AS_POSTGREST = {"21000", "54001"}
"""The same id twice in one upsert, and nesting beyond PostgreSQL's stack: PostgREST says 500, too."""
NOT_IMPLEMENTED = "501"
"""waitress's answer to a Transfer-Encoding that it does not know (RFC 9112, section 6.1)."""
MANY = 3_000

odd_texts = st.sampled_from(
    [
        *(
            "",
            ".",
            "..",
            "../..",
            "%2e%2e",
            "%",
            "%zz",
            "%00",
            "%0d%0aX: y",
            "%ff",
            "%ed%a0%80",
            "*",
            "'",
            '"',
            ";",
        ),
        *(
            "docs",
            "docs/docs",
            "docs%2fx",
            "rpc/x",
            "rpc/",
            "seen",
            "strict",
            "nothing",
            "pg_catalog.pg_authid",
        ),
        *(
            "'; drop table v1.docs; --",
            '"; drop table v1.docs; --',
            "$1",
            "%s",
            "%(a)s",
            "{}",
            "\\",
            "é",
            "😀",
        ),
        *(
            "\u2028",
            "a" * 300,
            "(" * 40,
            "9" * 400,
            "-1",
            "0",
            "1e9",
            "NaN",
            "null",
            "true",
            "{1,2",
            "[1",
            "\x7f",
        ),
    ]
) | st.text(max_size=8)
names = st.sampled_from(
    ["select", "order", "limit", "offset", "columns", "on_conflict", "_id", "doc", "_rev", "id"]
) | (
    st.sampled_from(
        ["and", "or", "not.and", "not.or", "doc->a", "doc->>a", "doc->a->0", "other", "docs.order", ""]
    )
)
operators = st.sampled_from(
    [
        "eq",
        "neq",
        "gt",
        "gte",
        "lt",
        "lte",
        "like",
        "ilike",
        "match",
        "imatch",
        "in",
        "is",
        "isdistinct",
        "cs",
        "cd",
    ]
) | st.sampled_from(
    ["ov", "sl", "sr", "nxr", "nxl", "adj", "fts", "plfts", "phfts", "wfts", "not.eq", "eq(any)"]
)
values = st.one_of(
    odd_texts,
    st.builds(lambda operator, value: f"{operator}.{value}", operators, odd_texts),
    st.builds(lambda operator, value: f"{operator}.({value},{value})", operators, odd_texts),
    st.builds(lambda operator, value: f"{operator}.{{{value}}}", operators, odd_texts),
    st.builds(lambda name, operator, value: f"({name}.{operator}.{value})", names, operators, odd_texts),
    st.lists(names | odd_texts, max_size=4).map(",".join),
    st.builds(lambda depth: "(and" * depth + "(_id.eq.1)" + ")" * depth, st.sampled_from([2, 300, MANY])),
    st.builds(lambda depth: "(not.or(" * depth, st.sampled_from([2, 300, MANY])),
    st.builds(lambda depth: "doc" + "->a" * depth, st.sampled_from([2, 300, MANY])),
    st.builds(lambda name, kind: f"{name}::{kind}", names, odd_texts),
)
queries = st.lists(
    st.builds(
        lambda name, value, quoted: (
            f"{name}={quote(value, safe='', errors='surrogatepass') if quoted else value}"
        ),
        names | odd_texts,
        values,
        st.booleans(),
    ),
    max_size=4,
).map("&".join)
paths = st.sampled_from(["/docs", "/docs", "/", "/strict", "/medic%2Fusers-%24%28x%29%25s"]) | odd_texts.map(
    lambda text: f"/{text}"
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | odd_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_texts, inner, max_size=3),
    max_leaves=6,
)
rows = st.fixed_dictionaries(
    {"_id": st.sampled_from(["a", "b"]) | json_values}, optional={"_rev": json_values, "doc": json_values}
)
bodies = st.one_of(
    st.lists(rows, max_size=3).map(lambda value: json.dumps(value).encode()),
    rows.map(lambda value: json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=40),
    st.sampled_from(
        [
            *(
                b"",
                b" ",
                b"[",
                b"{}",
                b"[{}]",
                b"[1]",
                b"[[]]",
                b'[{"_id":"a"},{"x":1}]',
                b'[{"_id":"a"},1]',
                b"\xff",
            ),
            *(
                b'[{"_id":"\\u0000"}]',
                b'[{"_id":"\\ud800"}]',
                b'[{"_id":"a","doc":1e999999}]',
                b'{"_id":"\x00"}',
            ),
            *(
                b'[{"_id":"a","_id":"b"}]',
                b"[" * MANY + b"]" * MANY,
                b"[" * 100_000,
                b'[{"_id":"a","doc":' + b"9" * 9000,
            ),
            *(
                b'{"_id":"a","doc":' + b"[" * MANY + b"]" * MANY + b"}",
                b'{"_id":"a","doc":' + b'{"a":' * 40_000,
                b"]",
            ),
            *(
                b"]" * 2_000 + b"[" * MANY,
                b'{"a":' * MANY,
                b'["a":' * MANY,
                b'{"_id":' + b"]" * 9 + b"[" * MANY,
            ),
            *(
                b"\xef\xbb\xbf[]",
                b"_id=a&doc=%7B%7D",
                b"=&&=",
                b"_id=%00",
                b"_id=%ff",
                b"NaN",
                b'{"_id":NaN}',
            ),
        ]
    ),
)
header_values = st.one_of(
    st.sampled_from(
        [
            *(
                "application/json",
                "text/csv",
                "application/x-www-form-urlencoded",
                "*/*",
                "text/plain;q=x",
                ";;",
                ",",
            ),
            *(
                "application/vnd.pgrst.object+json",
                "application/vnd.pgrst.plan",
                "application/openapi+json;q=0.0001",
            ),
            *(
                "resolution=merge-duplicates,return=representation",
                "return=minimal,count=exact",
                "timezone='; x",
            ),
            *(
                "resolution=ignore-duplicates",
                "missing=default",
                "handling=strict,x",
                "max-affected=x",
                "tx=rollback",
            ),
            *(
                "timezone=Africa/Nairobi",
                "v1",
                "pg_catalog",
                "0-",
                "5-1",
                "0-99999999999999999999",
                "bytes=0-1",
            ),
            *(
                "Bearer",
                "Bearer x",
                "Bearer a.b.c",
                "Basic eDp5",
                "100-continue",
                "http://x",
                "null",
                "a=b; c",
                "=",
            ),
        ]
    ),
    st.builds(
        lambda claims: f"Bearer {token('nobody', **claims)}",
        st.dictionaries(odd_texts, json_values, max_size=2),
    ),
    st.binary(max_size=12).map(lambda text: re.sub(rb"[\r\n\0]", b"?", text).decode("latin-1")),
)
headers = st.dictionaries(
    st.sampled_from(
        [
            *(
                "Accept",
                "Content-Type",
                "Prefer",
                "Range",
                "Range-Unit",
                "Accept-Profile",
                "Content-Profile",
                "Origin",
            ),
            *(
                "Access-Control-Request-Method",
                "Access-Control-Request-Headers",
                "Cookie",
                "X-Epoch",
                "Forwarded",
            ),
            *(
                "Authorization",
                "Expect",
                "Upgrade",
                "cht-sync-seq",
                "X_Underscore",
                "If-Match",
                "X-Forwarded-For",
            ),
        ]
    ),
    header_values,
    max_size=4,
)
methods = st.sampled_from(
    ["GET", "HEAD", "POST", "POST", "POST", "OPTIONS", "PATCH", "PUT", "DELETE"]
) | st.from_regex(r"[A-Za-z!#$%&'*+.^_`|~-]{1,9}", fullmatch=True)


class Failures(logging.Handler):
    """What the server itself says has failed inside."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture(scope="module")
def failures() -> Iterator[list[str]]:
    handler = Failures()
    logging.getLogger().addHandler(handler)
    yield handler.said
    logging.getLogger().removeHandler(handler)


@pytest.fixture(scope="module")
def server(postgres_server: Any, failures: list[str]) -> Iterator[Client]:
    with installed(postgres_server) as installation:
        installation.execute(f"ALTER ROLE {installation.ingest_role} RESET lock_timeout")
        with running(installation.config) as port:
            client = installation.client(port)
            wait_until(lambda: client.get("/").status == 200)
            yield client


def exchange(port: int, request: bytes, *, more: bool = False) -> bytes:
    """All that is answered before the connection is closed; unless there is `more`, nothing follows."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        try:
            connection.sendall(request)
            if not more:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                answer += part
        except OSError as error:
            # It may have been closed before all was sent; silence is no answer.
            assert not isinstance(error, TimeoutError)
    return answer


def judge(answer: bytes, sent: object) -> None:
    """Each answer is whole, and none of them says that the server has failed."""
    for status in re.findall(rb"^HTTP/1\.[01] (\d{3})", answer, re.MULTILINE):
        if status.decode() == NOT_IMPLEMENTED or status < b"500":
            continue
        code = re.search(rb'"code":"(\w+)"', answer)
        assert code is not None, (answer, sent)
        assert code[1].decode() in AS_POSTGREST, (answer, sent)


@searches(500)
@given(methods, paths, queries, headers, bodies, st.booleans())
def test_no_request_makes_the_server_fail(
    server: Client, method: str, path: str, query: str, headers: dict[str, str], body: bytes, authorized: bool
) -> None:
    if authorized:
        headers = {"Authorization": f"Bearer {server.token}", **headers}
    target = re.sub(r"[\s\0]", "+", f"{path}?{query}" if query else path)
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines).encode(errors="surrogatepass")
    answer = exchange(server.port, head + b"\r\n\r\n" + body, more=True)
    assert answer.startswith(b"HTTP/1."), (answer, head, body)
    judge(answer, (head, body))
    injected = [
        line for line in answer.partition(b"\r\n\r\n")[0].lower().splitlines() if line.startswith(b"x:")
    ]
    assert injected == []


@searches(120)
@given(st.sampled_from(["select", "order", "columns", "on_conflict", "_id", "or"]), st.text(max_size=12))
def test_no_text_of_a_parameter_makes_the_server_fail(server: Client, name: str, text: str) -> None:
    value = quote(text, safe="", errors="surrogatepass")
    for method, body in (("GET", b""), ("POST", b'[{"_id":"a"}]')):
        head = (
            f"{method} /docs?{name}={value} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {server.token}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        judge(exchange(server.port, head.encode() + body, more=True), (method, name, text))


A_REQUEST = b'POST /docs HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n[{"_id":"a"}]'
framings = st.sampled_from(
    [
        *(
            b"Content-Length: -1",
            b"Content-Length: +5",
            b"Content-Length: 5, 5",
            b"Content-Length: 0x5",
            b"Content-Length:",
        ),
        *(
            b"Content-Length: 5\r\nContent-Length: 6",
            b"Content-Length: " + b"9" * 400,
            b"Content-Length: 5_0",
        ),
        *(
            b"Content-Length: \xb2",
            b"Content-Length: 1e1",
            b"Content-Length: 99999999999999999999",
            b"Content-Length : 5",
        ),
        *(
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: x",
            b": x",
            b"X",
        ),
        *(
            b"Transfer-Encoding: chunked\r\nContent-Length: 5",
            b"Transfer-Encoding: chunked, chunked",
            b" folded",
        ),
        *(
            b"Transfer-Encoding:\x0bchunked",
            b"Expect: 100-continue",
            b"Expect: x",
            b"A" * 60_000,
            b"A: " + b"b" * 60_000,
        ),
        *(
            b"Connection: close, x",
            b"Connection: upgrade",
            b"Host: y",
            b"\xff: \xff",
            b"A\0: b",
            b"A: \0",
            b"A:\rb",
        ),
    ]
)
chunks = st.sampled_from(
    [
        *(
            b"5\r\n[{}]\n\r\n0\r\n\r\n",
            b"0\r\n\r\n",
            b"zz\r\n",
            b"-5\r\n[]\r\n0\r\n\r\n",
            b"5;x=y\r\n[{}]\n\r\n0\r\n\r\n",
            b"5\r\n[]",
        ),
        *(
            b"ffffffffffffffffffff\r\n",
            b"0x5\r\n[{}]\n\r\n0\r\n\r\n",
            b"5\n[{}]\n\n0\n\n",
            b"\r\n",
            b"2\r\n[]0\r\n\r\n",
            b"",
        ),
        *(
            b"0\r\nTrailer: x\r\n\r\n",
            b"5" * 70_000,
            b"+5\r\n[{}]\n\r\n0\r\n\r\n",
            b"5_0\r\n",
            b"5 \r\n[{}]\n\r\n0\r\n\r\n",
        ),
    ]
)


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A request with pieces deleted, doubled or replaced."""
    text = A_REQUEST
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 1, 2, 8, 40])))
        new = draw(st.binary(max_size=6) | framings | st.just(text[start:end] * 2) | st.just(b"\r\n"))
        text = text[:start] + new + text[end:]
    return text


@searches(250)
@given(
    st.binary(max_size=60)
    | broken()
    | st.builds(
        lambda method, framing, rest: (
            b"%b /docs HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n%b" % (method, framing, rest)
        ),
        st.sampled_from([b"POST", b"GET"]),
        framings,
        chunks | bodies,
    )
    | st.lists(
        st.sampled_from([A_REQUEST, A_REQUEST[:40], b"\r\n", b"GET / HTTP/1.0\r\n\r\n", b"GET  /\r\n\r\n"])
    ).map(b"".join)
)
def test_no_bytes_on_the_line_make_the_server_fail(server: Client, data: bytes) -> None:
    judge(exchange(server.port, data), data)


def test_it_still_serves_after_all_that_and_nothing_has_failed_inside(
    server: Client, failures: list[str]
) -> None:
    merge = "resolution=merge-duplicates"
    last = server.post("/docs", [{"_id": "last", "_rev": "1-a", "doc": {}}], Prefer=merge)
    assert last.status in (200, 201)
    assert failures == []
