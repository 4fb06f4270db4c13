"""Whatever a server sends as changes: each row becomes an event or a dead letter, or is asked for again.

The reader is the real one; what is replaced is the server's answer, byte for byte.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cht_sync.errors import SourceError, SourceUnavailable, sentences
from cht_sync.pipeline.contracts import Position
from cht_sync.pipeline.couchdb.client import CouchdbClient, Server, Wait
from cht_sync.pipeline.couchdb.events import EventShape, bare_event_maker, event_maker
from cht_sync.pipeline.couchdb.gatherer import Gatherer
from cht_sync.pipeline.couchdb.handoff import Gathered, Handoff
from cht_sync.pipeline.couchdb.identity import Identity, identity, is_header_value
from cht_sync.pipeline.couchdb.login import LoginGate
from cht_sync.pipeline.couchdb.reader import ChangesReader, Pace
from cht_sync.pipeline.couchdb.rows import page_rows
from cht_sync.pipeline.document import encode_json

from .raw_server import RawServer, answers
from .searching import TIMEOUT, searches

pytestmark = pytest.mark.timeout(TIMEOUT)

PATIENCE = 20.0
MANY = 3_000
ODD = [
    *(b"null", b"true", b"false", b"0", b"-0", b"1e999", b"-1e-999", b"1" * 400, b"1." + b"9" * 5000, b"NaN"),
    *(b"9223372036854775808", b"-", b"01", b"1e", b"Infinity", b'""', b'"\\ud800"', b'"\\udc00\\ud800"'),
    *(b'"\\u0000"', b'"\x00"', b'"\xff"', b'"\xed\xa0\x80"', b'"\xf0\x9f\x98\x80"', b'"\\x"', b'"', b'"\n"'),
    *(b'"5-x\\r\\nAuthorization: Bearer x"', b'" 5"', b'"\xc3\xa9"', b'"\xf0\x9f\x98\x80-x"', b"[5,\t6]"),
    *(
        b"[]",
        b"{}",
        b"[1,",
        b"{",
        b"}",
        b'{"a":1,"a":2}',
        b"[" * MANY + b"]" * MANY,
        b'{"a":' * MANY + b"}" * MANY,
    ),
    *(
        b"[" * 100_000,
        b'{"_id":"a","_id":"b","_rev":"1-a"}',
        b'{"_id":7,"_rev":null}',
        b'{"_id":"a","_rev":[]}',
    ),
    *(
        b'{"_id":"a","_rev":"1-a","n":1e400}',
        b'{"_id":"\\ud800","_rev":"1-a"}',
        b'{"_id":"a\\u0000","_rev":"1"}',
    ),
    *(
        b'{"_id":"a","_rev":"1-a","_deleted":"yes"}',
        b'{"_id":"a","_rev":"1-a","_deleted":{}}',
        b'"a":1',
        b",",
    ),
    *(b'{"_id":"a","_rev":"1-a","x":"\xff\xfe"}', b'{"_id":"a","_rev":"1-a","\xff":1}', b"\xef\xbb\xbf{}"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
).map(lambda value: json.dumps(value).encode(errors="surrogatepass"))
values = st.sampled_from(ODD) | json_values | st.binary(max_size=12)
documents = (
    st.builds(
        lambda id, rev, rest: b'{"_id":%b,"_rev":%b%b}' % (id, rev, rest),
        st.sampled_from([b'"a"', b'"b"', b'"\\u00e9"']) | values,
        st.just(b'"1-a"') | values,
        st.just(b"")
        | st.just(b',"_deleted":true')
        | st.builds(
            lambda name, value: b',"%b":%b' % (name, value), st.sampled_from([b"n", b"_id", b"\xff"]), values
        ),
    )
    | values
)


@st.composite
def rows(draw: st.DrawFn) -> bytes:
    """A row of the feed that has one or another thing wrong with it; in a third of all cases nothing."""
    odd = draw(st.integers(0, 5))
    members = {
        b"seq": draw(values) if odd == 1 else draw(st.sampled_from([b'"5-g1AAAA"', b"7", b"null"])),
        b"id": draw(values) if odd == 2 else draw(st.sampled_from([b'"a"', b'"b"', b'"\\u00e9"'])),
        b"changes": draw(values) if odd == 3 else b'[{"rev":"1-a"}]',
        b"doc": draw(documents) if odd in (4, 5) else b'{"_id":"a","_rev":"1-a","n":1}',
    }
    left_out = draw(st.sampled_from([None] * 8 + [b"seq", b"id", b"changes", b"doc"]))
    text = b",".join(b'"%b":%b' % item for item in members.items() if item[0] != left_out)
    line = (
        b"{"
        + text
        + draw(st.sampled_from([b"", b"", b"", b',"deleted":true', b',"deleted":1', b',"x":[1]']))
        + b"}"
    )
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(line)))
        line = (
            line[:place]
            + draw(st.just(b"") | st.binary(max_size=4) | st.sampled_from(ODD))
            + line[place + 1 :]
        )
    return line[: draw(st.integers(0, len(line)))] if draw(st.integers(0, 9)) == 0 else line


lines = rows() | st.sampled_from(ODD) | st.binary(max_size=40)


@dataclass
class Answers:
    """In place of CouchdbClient: gives the bytes that it was told to, once, then is not there any more."""

    page_bytes: list[bytes]
    live_bytes: list[bytes] = field(default_factory=list)
    fetched: bytes | None = None
    welcome: bytes = b"{}"

    @contextmanager
    def page(self, since: str, limit: int, stop: threading.Event) -> Iterator[Answers]:
        self.given = self.page_bytes
        yield self

    @contextmanager
    def continuous(self, since: str, wait: Wait, stop: threading.Event) -> Iterator[Answers]:
        self.given = self.live_bytes
        yield self

    def chunks(self) -> Iterator[bytes]:
        yield from self.given

    def document(self, document_id: str, revision: str, stop: threading.Event) -> bytes | None:
        if self.fetched is None:
            return None
        return self.fetched

    def identity(self, stop: threading.Event) -> Identity:
        return identity(self.welcome, self.welcome)

    def ask(self, path: str, query: Mapping[str, str], stop: threading.Event, **_: Any) -> bytes:
        return self.welcome

    def login_pause(self) -> float:
        return 0.0

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


MAKERS = {
    "documents": event_maker(EventShape("medic", True, True, True), lambda _event: None),
    "users": event_maker(EventShape("_users", False, False, False), lambda _event: None),
    "bare": bare_event_maker(lambda _event: None),
}


def gather(found: list[bytes], make: str, fetched: bytes | None) -> tuple[Gathered, bool]:
    """What became of rows, and whether they ended with an answer that is asked for again."""
    portion = Gathered()
    gatherer = Gatherer(
        Answers([], fetched=fetched),  # type: ignore[arg-type]
        MAKERS[make],
        lambda sequence: Position("couch/medic", sequence),
        threading.Event(),
        documents=make != "bare",
        asks_again=False,
    )
    try:
        gatherer.gather(found, portion)
    except SourceUnavailable:
        return portion, True
    return portion, False


@searches(1000)
@given(lines, st.sampled_from(sorted(MAKERS)), st.none() | values)
def test_a_row_is_an_event_a_dead_letter_or_asked_for_again(
    line: bytes, make: str, fetched: bytes | None
) -> None:
    portion, again = gather([line], make, fetched)
    assert again or len(portion) == 1
    for event in portion.events.values():
        encode_json(event.fields)
        encode_json(event.metadata)
    for letter in portion.rejected:
        assert letter.reason
        encode_json(letter.document or "")
    if portion.position is not None:
        assert is_header_value(portion.position.sequence)


@searches(200)
@given(st.lists(lines, max_size=5), st.none() | values)
def test_rows_before_one_that_is_asked_for_again_are_kept_and_so_is_their_position(
    found: list[bytes], fetched: bytes | None
) -> None:
    alone = [gather([line], "documents", fetched) for line in found]
    portion, again = gather(found, "documents", fetched)
    good = next((number for number, one in enumerate(alone) if one[1]), len(found))
    assert again == (good < len(found))
    assert set(portion.events) | {letter.document_id for letter in portion.rejected} >= {
        name for one, _ in alone[:good] for name in one.events
    }
    positions = [one.position for one, _ in alone[:good] if one.position]
    assert portion.position == (positions[-1] if positions else None)


def test_what_is_asked_for_again_is_told_without_its_document() -> None:
    gatherer = Gatherer(
        Answers([]),  # type: ignore[arg-type]
        MAKERS["users"],
        lambda sequence: Position("couch/_users", sequence),
        threading.Event(),
        documents=True,
    )
    row = b'{"id":7,"doc":{"_id":"a","derived_key":"5ec1237d"},"seq":"1-x"}'
    with pytest.raises(SourceUnavailable) as told:
        gatherer.gather([row], Gathered())
    assert "5ec1237d" not in str(told.value)


def cut(text: bytes, places: list[int]) -> list[bytes]:
    """The text as it may come from the network."""
    ends = [*sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


pages = st.builds(
    lambda before, rows, end: before + b",\r\n".join(rows) + end,
    st.sampled_from(
        [b'{"results":[\n', b'{"results":[\n', b"\n\n" + b'{"results":[\r\n', b'{"results":[', b""]
    ),
    st.lists(lines, max_size=4),
    st.sampled_from(
        [b'\n],\n"last_seq":"9-g1AAAA","pending":0}\n', b"\n]}\n", b"\n],", b"", b'\n],\n"last_seq":']
    )
    | values.map(lambda value: b'\n],\n"last_seq":%b,"pending":0}\n' % value)
    | values.map(lambda value: b'\n],\n"last_seq":"9-g1AAAA","pending":%b}\n' % value),
)
feeds = st.lists(lines | st.just(b"") | values.map(lambda value: b'{"last_seq":%b}' % value), max_size=5).map(
    b"\n".join
)
A_PAGE = b'{"results":[\n],\n"last_seq":"1-g1AAAA","pending":0}\n'


def read(server: Answers, mode: str) -> tuple[list[Gathered], Exception | None]:
    """All that the reader hands over until it ends by itself, and the error with which it does."""
    handoff = Handoff(1000, 1 << 25)
    reader = ChangesReader(
        server,  # type: ignore[arg-type]
        handoff,
        MAKERS["documents"],
        source="couch/medic",
        since="0",
        pace=Pace(1000, 1.0, 0.2, mode=mode, reconnects=False),  # type: ignore[arg-type]
        known=Identity(),
    )
    reader.start()
    taken: list[Gathered] = []
    try:
        while (batch := handoff.take(PATIENCE)) is not None:
            assert len(batch) or batch.position, "nothing came in time"
            taken.append(batch)
    except Exception as failure:
        return taken, failure
    finally:
        reader.join(PATIENCE)
        assert not reader.is_alive()
    return taken, None


def assert_expected(failure: Exception | None) -> None:
    assert failure is None or isinstance(failure, SourceError), repr(failure)


@searches(400)
@given(pages | st.binary(max_size=60), st.lists(st.integers(0, 2000), max_size=4), st.sampled_from(ODD))
def test_any_page_ends_in_order_or_is_asked_for_again(page: bytes, places: list[int], welcome: bytes) -> None:
    _, failure = read(Answers(cut(page, places), welcome=welcome), "normal")
    assert_expected(failure)


@searches(300)
@given(feeds | st.binary(max_size=60), st.lists(st.integers(0, 2000), max_size=4))
def test_any_live_feed_ends_in_order_or_is_asked_for_again(feed: bytes, places: list[int]) -> None:
    _, failure = read(Answers([A_PAGE], cut(feed, places)), "continuous")
    assert_expected(failure)


@pytest.mark.parametrize("mode", ["normal", "continuous"])
def test_good_rows_around_bad_ones_arrive(mode: str) -> None:
    good = b'{"seq":"%d-x","id":"d%d","changes":[{"rev":"1-a"}],"doc":{"_id":"d%d","_rev":"1-a"}}'
    bad = [
        b'{"seq":"0-x","id":7}',
        b'{"seq":"\xff","id":"x","doc":{}}',
        b'{"seq":"0-x","id":"y","doc":[\x00}',
        b'{"seq":"5\\r\\nHost: x","id":"x","doc":{"_id":"x","_rev":"1-a"}}',
        b'{"seq":' + b"[" * MANY + b"]" * MANY + b',"id":"x","doc":{"_id":"x","_rev":"1-a"}}',
    ]
    found = [row for n, wrong in enumerate(bad) for row in (good % (n, n, n), wrong)] + [good % (9, 9, 9)]
    if mode == "normal":
        server = Answers([b'{"results":[\n' + b",\n".join(found) + b'\n],\n"last_seq":"9-x","pending":0}\n'])
    else:
        server = Answers([A_PAGE], [b"\n".join([*found, b'{"last_seq":"9-x","pending":0}', b""])])
    taken, failure = read(server, mode)
    assert failure is None
    assert [name for batch in taken for name in batch.events] == [*(f"d{n}" for n in range(len(bad))), "d9"]
    assert sum(len(batch.rejected) for batch in taken) == len(bad)
    assert [batch.position.sequence for batch in taken if batch.position][-1] == "9-x"


@searches(300)
@given(values, values)
def test_any_answer_about_the_server_is_an_identity(welcome: bytes, information: bytes) -> None:
    assert isinstance(identity(welcome, information), Identity)


def test_what_cannot_be_a_header_is_no_identity() -> None:
    welcome = b'{"couchdb":"Welcome","version":"3.4.3","uuid":"a\\r\\nHost: x","vendor":{"name":"cht-sync"}}'
    assert identity(welcome, b'{"instance_start_time":"1\\u00e9"}') == Identity()


reasons = values.map(lambda value: b'{"reason":%b}' % value)


@pytest.fixture(scope="module")
def raw_server() -> Iterator[RawServer]:
    server = RawServer()
    yield server
    server.close()


@searches(250)
@given(answers(pages | values | reasons) | st.binary(max_size=60), st.sampled_from(["basic", "session"]))
def test_any_bytes_on_the_line_are_an_answer_or_asked_for_again(
    raw_server: RawServer, said: bytes, authentication: Any
) -> None:
    raw_server.said = said
    address = f"http://127.0.0.1:{raw_server.port}"
    stop = threading.Event()

    def page(client: CouchdbClient) -> None:
        with client.page("0", 10, stop) as feed:
            list(page_rows(feed.chunks()))

    for ask in (
        page,
        lambda client: client.ask("", {}, stop),
        lambda client: client.document("a", "1-a", stop),
        lambda client: client.identity(stop),
    ):
        server = Server(address, "medic", "ada", "secret", authentication=authentication)
        client = CouchdbClient(server, LoginGate("ada"))
        try:
            ask(client)
        except SourceError as error:
            assert "\n" not in sentences(error)
        finally:
            client.close()
