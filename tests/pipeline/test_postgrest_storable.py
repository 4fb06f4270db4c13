"""What jsonb cannot hold is replaced, and nothing else: asked of PostgreSQL itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cht_sync.pipeline.postgrest.storable import as_utf8, is_storable_text, looks_unstorable, storable

PIECES = ("\\", '"', "u0000", "\0", "\ud800", "\udc00", "\ud83d\ude00", "a", "u", "\\u0000", "ž")
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(
    st.characters(exclude_categories=()), max_size=8
)
ZEROS = st.sampled_from(["", "0", "0" * 16_382, "0" * 16_383, "0" * 131_000])
DIGITS = st.builds(str.__add__, ZEROS, st.text("0123456789", min_size=1, max_size=3)) | st.builds(
    str.__mul__, st.sampled_from("019"), st.sampled_from([131_071, 131_072, 131_073, 16_383, 16_384])
)
EXPONENTS = st.sampled_from(
    [
        0,
        1,
        4,
        400,
        16_382,
        16_383,
        16_384,
        114_688,
        131_070,
        131_071,
        131_072,
        200_000,
        10**9,
        2 * 10**9,
        10**30,
    ]
)
NUMBERS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-"]),
    st.builds(lambda digits: digits.lstrip("0") or "0", DIGITS),
    st.just("") | st.builds(".{}".format, DIGITS),
    st.just("")
    | st.builds(
        "{}{}{}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-", "-0", "000"]), EXPONENTS
    ),
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


def is_numeric(number: str) -> bool:
    """PostgreSQL's documentation, "Numeric Types": 131,072 digits before the point, 16,383 after it."""
    if abs(int(number.lower().partition("e")[2] or 0)) > 1_073_741_822:
        return False
    _, digits, least = Decimal(number).as_tuple()
    return -int(least) <= 16_383 and (not any(digits) or len(digits) + int(least) <= 131_072)


def obviously(text: str) -> tuple[str, int]:
    """`storable` once more, a character at a time."""
    out, count, at, inside = "", 0, 0, False
    while at < len(text):
        number = None if inside else re.match(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text[at:])
        pair = re.match(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..", text[at:])
        half = re.match(r"\\u([dD][89a-fA-F]..|0000)", text[at:])
        if number is not None:
            piece, bad = number[0], not is_numeric(number[0])
            new = '"\\ufffd"' if bad else piece
        elif inside and pair is None and half is not None:
            piece, bad, new = half[0], True, "\\ufffd"
        else:
            size = len(pair[0]) if inside and pair else 2 if text[at] == "\\" else 1
            piece = new = text[at : at + size]
            bad = False
            inside ^= piece == '"'
        out, count, at = out + new, count + bad, at + len(piece)
    return out, count


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


@settings(max_examples=300, deadline=None)
@given(value=VALUES, numbers=st.lists(NUMBERS, max_size=2), ascii=st.booleans())
def test_only_what_must_be_is_replaced_wherever_it_stands(
    value: Any, numbers: list[str], ascii: bool
) -> None:
    try:
        text = json.dumps([value, "1e999999"], ensure_ascii=ascii)
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps([value, "1e999999"])
    text = f'{{"k\\\\":[{",".join([*numbers, text])}]}}'
    stored, count = obviously(text)
    assert storable(text.encode()) == (stored.encode(), count)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=NUMBERS)
def test_a_number_is_replaced_if_and_only_if_jsonb_refuses_it(cursor: Any, number: str) -> None:
    text, count = storable(number.encode())
    assert (text, count) == ((number.encode(), 0) if is_numeric(number) else (rb'"\ufffd"', 1))
    try:
        cursor.execute("select %s::jsonb", (number,))
    except psycopg2.DataError as refusal:
        assert (refusal.pgcode, count) == ("22003", 1)
    else:
        assert count == 0


@settings(max_examples=200, deadline=None)
@given(
    pieces=st.lists(
        st.sampled_from([b"\xff", b"\xc5", b"\xed\xa0\x80", b"\xf0\x9f\x98", "ž😀\ufffda".encode()])
    )
)
def test_bytes_that_are_no_utf8_are_replaced_and_can_be_shown(pieces: list[bytes]) -> None:
    sent = b'"' + b"".join(pieces) + b'"'
    stored, count = storable(sent)
    assert stored.decode() == sent.decode(errors="replace")
    assert count == stored.decode().count("\ufffd") - sent.count("\ufffd".encode())
    assert (count == 0) is (stored == sent)
    assert as_utf8(sent, "backslashreplace").decode() == sent.decode(errors="backslashreplace")


def test_a_character_that_is_cut_by_the_end_of_a_piece_is_whole() -> None:
    text = b'"' + "😀".encode() * 600_000 + b'"'
    assert storable(text) == (text, 0)


@settings(max_examples=150, deadline=None)
@given(value=VALUES)
def test_the_quick_look_misses_no_escape(value: Any) -> None:
    sent = as_sent(value)
    assert looks_unstorable(sent) or storable(sent) == (sent, 0)


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
        (b'{"1e140000":1e140000}', rb'{"1e140000":"\ufffd"}', 1),
        (rb'["\" 1e140000","\\",1e140000]', rb'["\" 1e140000","\\","\ufffd"]', 1),
        (b"[1e131071,-1e-16383,1e400,-0.0]", b"[1e131071,-1e-16383,1e400,-0.0]", 0),
        (b"[1e131072,-1e-16384]", rb'["\ufffd","\ufffd"]', 2),
        (b"9" * 200_000, rb'"\ufffd"', 1),
        (b"1E+%s1" % (b"0" * 5_000), b"1E+%s1" % (b"0" * 5_000), 0),
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
