"""What jsonb cannot hold is replaced, and nothing else: asked of PostgreSQL itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cht_sync.pipeline.postgrest.storable import is_storable_text, storable

PIECES = ("\\", '"', "u0000", "\0", "\ud800", "\udc00", "\ud83d\ude00", "a", "u", "\\u0000", "ž")
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(
    st.characters(exclude_categories=()), max_size=8
)
VALUES = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers(-(10**40), 10**40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def cursor(postgres_server: Any) -> Iterator[Any]:
    with closing(psycopg2.connect(postgres_server.dsn())) as connection:
        connection.autocommit = True
        yield connection.cursor()


def as_sent(value: Any) -> bytes:
    """JSON with every character that may be escaped escaped, as some servers send it."""
    return json.dumps(value).encode()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_jsonb_takes_whatever_storable_gives_back(cursor: Any, value: Any) -> None:
    text, _ = storable(as_sent(value))
    cursor.execute("select %s::jsonb", (text.decode(),))
    cursor.fetchone()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_what_jsonb_takes_is_left_alone_and_what_it_refuses_is_not(cursor: Any, value: Any) -> None:
    sent = as_sent(value)
    text, count = storable(sent)
    try:
        cursor.execute("select %s::jsonb", (sent.decode(),))
    except psycopg2.DataError:
        assert count > 0
        assert text != sent
    else:
        assert (text, count) == (sent, 0)


@pytest.mark.parametrize(
    ("sent", "stored", "count"),
    [
        (rb'"a\u0000b"', rb'"a\ufffdb"', 1),
        (rb'"a\\u0000b"', rb'"a\\u0000b"', 0),
        (rb'"a\\\u0000b"', rb'"a\\\ufffdb"', 1),
        (rb'"a\\\\u0000b"', rb'"a\\\\u0000b"', 0),
        (rb'{"\u0000":"\uD800"}', rb'{"\ufffd":"\ufffd"}', 2),
        (rb'"\ud83d\ude00"', rb'"\ud83d\ude00"', 0),
        (rb'"\ude00\ud83d"', rb'"\ufffd\ufffd"', 2),
        (rb'"\ud83d\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"', 1),
        ('"ž\uffff"'.encode(), '"ž\uffff"'.encode(), 0),
    ],
)
def test_only_the_escape_that_offends_is_replaced(sent: bytes, stored: bytes, count: int) -> None:
    assert storable(sent) == (stored, count)


@pytest.mark.parametrize(
    ("text", "can"),
    [("a", True), ("", True), ("😀", True), ("a\0", False), ("\ud800", False), ("\\u0000", True)],
)
def test_an_identity_is_stored_as_it_is_or_not_at_all(text: str, can: bool) -> None:
    assert is_storable_text(text) is can
