"""Lines of a feed become rows: against what CouchDB 3.4 really sent, however it arrives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cht_sync.errors import SourceUnavailable
from cht_sync.pipeline.couchdb.rows import (
    PageEnd,
    Row,
    continuous_end,
    decode_head,
    decode_row,
    page_rows,
    sequence_text,
    split_lines,
)

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "contracts" / "couchdb"

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings of CouchDB are not here")

PAGES = (
    109,
    111,
    113,
    115,
    116,
    117,
    119,
    120,
    121,
    122,
    123,
    124,
    127,
    128,
    133,
    134,
    135,
    370,
    373,
    377,
)
LIVE = (184, 185, 187, 188, 189, 190, 191, 193, 195, 197, 211)


def recording(number: int) -> dict[str, Any]:
    (path,) = RECORDINGS.glob(f"{number:03}-*.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def body(number: int) -> bytes:
    text: str = recording(number)["response"]["body"]
    return text.encode()


def chunks(number: int) -> list[bytes]:
    return [chunk["data"].encode() for chunk in recording(number)["response"]["chunks"]]


def in_pieces(text: bytes, size: int) -> Iterator[bytes]:
    return (text[start : start + size] for start in range(0, len(text), size))


def read_page(parts: Iterable[bytes]) -> tuple[list[Row], PageEnd]:
    *groups, end = page_rows(parts)
    assert isinstance(end, PageEnd)
    rows = [decode_row(line) for group in groups if not isinstance(group, PageEnd) for line in group]
    return rows, end


def plain(rows: Iterable[Row]) -> list[tuple[str, bytes, str, bool, bytes]]:
    return [(row.id, bytes(row.seq), row.changes[0].rev, row.deleted, bytes(row.doc)) for row in rows]


def assert_is(row: Row, expected: dict[str, Any]) -> None:
    assert row.id == expected["id"]
    assert json.loads(bytes(row.seq)) == expected["seq"]
    assert [change.rev for change in row.changes] == [change["rev"] for change in expected["changes"]]
    assert row.deleted == expected.get("deleted", False)


@pytest.mark.parametrize("number", PAGES)
def test_a_recorded_page_gives_its_rows_and_its_end(number: int) -> None:
    expected = json.loads(body(number))
    rows, end = read_page([body(number)])
    assert len(rows) == len(expected["results"])
    for row, wanted in zip(rows, expected["results"], strict=True):
        assert_is(row, wanted)
    assert sequence_text(end.last_seq) == expected["last_seq"]
    assert end.pending == expected["pending"]


@pytest.mark.parametrize("number", [113, 128, 344])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 4096])
def test_a_page_is_the_same_however_it_is_cut_into_chunks(number: int, size: int) -> None:
    whole, whole_end = read_page([body(number)])
    rows, end = read_page(in_pieces(body(number), size))
    assert plain(rows) == plain(whole)
    assert end == whole_end


def test_a_page_in_two_chunks_is_the_same_wherever_it_is_cut() -> None:
    text = body(119)
    whole, whole_end = read_page([text])
    for cut in range(len(text)):
        rows, end = read_page([text[:cut], text[cut:]])
        assert (plain(rows), end) == (plain(whole), whole_end)


def test_a_page_on_one_line_gives_the_same_rows() -> None:
    compact = json.dumps(json.loads(body(113))).encode()
    rows, end = read_page([compact])
    whole, whole_end = read_page([body(113)])
    assert [(row.id, row.seq, row.deleted) for row in rows] == [
        (row.id, row.seq, row.deleted) for row in whole
    ]
    assert end == whole_end


def test_a_page_that_was_cut_off_gives_only_whole_rows_and_then_fails() -> None:
    text = body(113)
    whole, _ = read_page([text])
    end_of_rows = text.index(b'"last_seq"')
    for cut in range(end_of_rows):
        rows: list[Row] = []
        with pytest.raises(SourceUnavailable):
            for group in page_rows([text[:cut]]):
                assert not isinstance(group, PageEnd)
                rows += map(decode_row, group)
        assert plain(rows) == plain(whole[: len(rows)])


def test_an_error_in_the_middle_of_a_page_fails_after_the_good_rows() -> None:
    rows: list[Row] = []
    with pytest.raises(SourceUnavailable):
        for group in page_rows(chunks(218)):
            assert not isinstance(group, PageEnd)
            rows += map(decode_row, group)
    assert [row.id for row in rows][:2] == ["v1", "_design/f"]


@pytest.mark.parametrize(
    "answer", [b"<html><body>Sign in</body></html>", b"", b"{}", b'{"error":"x"}\n', b"[]"]
)
def test_an_answer_that_is_no_page_is_an_outage(answer: bytes) -> None:
    with pytest.raises(SourceUnavailable):
        read_page([answer])


def live_rows(parts: Iterable[bytes]) -> tuple[list[bytes], PageEnd | None]:
    lines = [line for group in split_lines(parts) for line in group if line]
    end = continuous_end(lines[-1]) if lines else None
    return (lines[:-1] if end else lines), end


@pytest.mark.parametrize("number", LIVE)
def test_a_recorded_live_feed_gives_its_rows_and_its_end(number: int) -> None:
    expected = [json.loads(line) for line in body(number).split(b"\n") if line.strip()]
    lines, end = live_rows(chunks(number))
    if expected and "last_seq" in expected[-1]:
        last = expected.pop()
        assert end is not None
        assert sequence_text(end.last_seq) == last["last_seq"]
        assert end.pending == last["pending"]
    else:
        assert end is None
    for line, wanted in zip(lines, expected, strict=True):
        assert_is(decode_row(line), wanted)


@pytest.mark.parametrize("number", [187, 193, 345])
@pytest.mark.parametrize("size", [1, 2, 5, 64, 1000])
def test_a_live_feed_is_the_same_however_it_is_cut_into_chunks(number: int, size: int) -> None:
    assert live_rows(in_pieces(body(number), size)) == live_rows([body(number)])


def test_a_row_of_a_live_feed_that_was_cut_off_is_no_row() -> None:
    text = body(193).split(b"\n")[0]
    for cut in range(len(text) + 1):
        assert live_rows([text[:cut]]) == ([], None)


def test_an_error_in_the_middle_of_a_live_feed_is_no_row() -> None:
    lines, _ = live_rows(chunks(217))
    rows = [line for line in lines if line.startswith(b'{"seq":')]
    assert [decode_row(line).id for line in rows][:2] == ["v1", "_design/f"]
    for line in set(lines) - set(rows):
        with pytest.raises(ValueError, match=r"."):
            decode_row(line)


@pytest.mark.parametrize("number", [344, 345])
def test_any_document_that_couchdb_stores_is_known_and_stays_the_bytes_that_came(number: int) -> None:
    """Among them deep ones, numbers of any size, NUL, noncharacters."""
    text = body(number)
    lines = [line.rstrip(b",\r") for line in text.split(b"\n") if line.startswith(b'{"seq":')]
    rows = read_page([text])[0] if number == 344 else list(map(decode_row, live_rows(chunks(number))[0]))
    assert len(rows) == len(lines) > 20
    for row, line in zip(rows, lines, strict=True):
        assert line.endswith(b'"doc":' + bytes(row.doc) + b"}")
        head = decode_head(row, bytes(row.doc))
        assert (head.id, head.rev, head.deleted) == (row.id, row.changes[0].rev, None)


def test_strange_ids_survive() -> None:
    rows, _ = read_page([body(370)])
    assert [row.id for row in rows] == [row["id"] for row in json.loads(body(370))["results"]]


def test_a_sequence_that_is_null_is_no_position() -> None:
    assert sequence_text(msgspec.Raw(b"null")) is None
    assert sequence_text(msgspec.Raw(b"17")) == "17"
    assert sequence_text(msgspec.Raw(b'"17-g1AAA"')) == "17-g1AAA"


def row_with(document: bytes, id: bytes = b'"a"') -> bytes:
    return b'{"seq":"1-x","id":' + id + b',"changes":[{"rev":"1-a"}],"doc":' + document + b"}"


def test_a_lone_surrogate_in_a_document_is_no_reason_to_lose_it() -> None:
    document = rb'{"_id":"a","_rev":"1-a","text":"\ud800 \",\"doc\":"}'
    row = decode_row(row_with(document))
    assert (row.id, bytes(row.doc), bytes(row.seq)) == ("a", document, b'"1-x"')
    head = decode_head(row, document)
    assert (head.id, head.rev, head.deleted) == ("a", "1-a", None)


def test_a_lone_surrogate_in_a_key_is_no_reason_to_lose_it() -> None:
    document = rb'{"\ud800":1,"_id":"a","_rev":"1-a"}'
    row = decode_row(row_with(document))
    assert decode_head(row, bytes(row.doc)).id == "a"


def test_a_lone_surrogate_in_an_id_is_kept_for_the_dead_letter() -> None:
    assert decode_row(row_with(b"{}", rb'"a\ud800"')).id == "a\ud800"


def test_a_document_too_deep_to_decode_is_still_known_by_its_row() -> None:
    document = b'{"_id":"a","d":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    row = decode_row(row_with(document))
    assert (row.id, row.changes[0].rev, bytes(row.doc)) == ("a", "1-a", document)
    head = decode_head(row, document)
    assert (head.id, head.rev, head.deleted) == ("a", "1-a", None)
    row.deleted = True
    assert decode_head(row, document).deleted is True


@pytest.mark.parametrize("line", [b'{"seq":2,"id":', b"[1,2]", b"null", b'{"seq":1,"id":5,"doc":{}}', b"{}"])
def test_what_is_no_row_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_row(line)
