"""Every kind of document that a database may have trouble with, and how each must end."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from poison.recorded_feed import Change

LEVELS = 20_000
"""More than PostgreSQL's stack holds."""
LONG_ID = hashlib.shake_256(b"an id that does not compress").hexdigest(5_000)


@dataclass(frozen=True)
class Stored:
    """A row equal to the document."""


@dataclass(frozen=True)
class Replaced:
    """A row equal to `document`, and a note of so many places with what was received."""

    document: bytes
    places: int


@dataclass(frozen=True)
class Letter:
    """A dead letter with this code.

    `unreadable` where not even the id could be read; `noted` where replacements were tried before.
    """

    code: str
    unreadable: bool = False
    noted: bool = False


Outcome = Stored | Replaced | Letter
STORED = Stored()


@dataclass(frozen=True)
class Kind:
    """One change of the document `id`; `fetched` is what a request for the document gives."""

    name: str
    id: str
    change: Change
    outcome: Outcome
    fetched: bytes | None = None

    @property
    def document(self) -> bytes:
        return self.change.doc or self.fetched or b""


def document(id: str, members: bytes, revision: bytes = b'"1-a"') -> bytes:
    """A document's text. Only half of a surrogate pair is escaped in its id."""
    return b'{"_id":%s,"_rev":%s%s}' % (_text(id), revision, b"," + members if members else b"")


def kind(
    name: str,
    members: bytes,
    outcome: Outcome | tuple[bytes, int] = STORED,
    *,
    id: str | None = None,
    revision: tuple[bytes, bytes] = (b'"1-a"', b'"1-a"'),
    deleted: bool = False,
) -> Kind:
    """A document with `members`; of a pair as outcome the first is what is stored instead of them.

    `revision` is as received and as stored.
    """
    id = name if id is None else id
    received, stored = revision
    if isinstance(outcome, tuple):
        outcome = Replaced(document(id, outcome[0], stored), outcome[1])
    change = Change(_text(id), received, document(id, members, received), deleted)
    return Kind(name, id, change, outcome)


def exactly(text: str | bytes) -> Any:
    """The value of a JSON text with every digit of its numbers."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def nested(levels: int) -> bytes:
    return b'{"a":[' * (levels // 2) + b"1" + b"]}" * (levels // 2)


def _text(id: str) -> bytes:
    return json.dumps(id, ensure_ascii="\ud800" in id).encode()


ESCAPES = [
    kind("nul in a value", rb'"t":"a\u0000b"', (rb'"t":"a\ufffdb"', 1)),
    kind("nul in a key", rb'"a\u0000b":1', (rb'"a\ufffdb":1', 1)),
    kind("nul in nested keys", rb'"l":[{"\u0000":{"\u0000":1}}]', (rb'"l":[{"\ufffd":{"\ufffd":1}}]', 2)),
    kind("two keys that become one", rb'"a\u0000":1,"a\ufffd":2', (rb'"a\ufffd":2', 1)),
    kind("half a pair", rb'"h":"\ud800","l":"\udc00x"', (rb'"h":"\ufffd","l":"\ufffdx"', 2)),
    kind("half a pair in a key", rb'"\ud800":1', (rb'"\ufffd":1', 1)),
    kind("a pair the wrong way round", rb'"t":"\udc00\ud800"', (rb'"t":"\ufffd\ufffd"', 2)),
    kind("half a pair before a whole one", rb'"t":"\uD83D\ud83d\ude00"', (rb'"t":"\ufffd\ud83d\ude00"', 1)),
    kind("a whole pair as escapes", rb'"t":"\ud83d\ude00"'),
    kind("what looks like an escape", rb'"t":"\\u0000","\\ud800":"\\\\u0000\\\\\\ud800"'),
    kind("an escape after backslashes", rb'"t":"\\\u0000\\\\\ud800"', (rb'"t":"\\\ufffd\\\\\ufffd"', 2)),
    kind(
        "nul in a tombstone",
        rb'"_deleted":true,"t":"\u0000"',
        (rb'"_deleted":true,"t":"\ufffd"', 1),
        deleted=True,
    ),
    kind("nul in the revision", b'"n":1', (b'"n":1', 1), revision=(rb'"1-\u0000"', rb'"1-\ufffd"')),
    kind("a replacement character of its own", '"t":"\ufffd","u":"\\ufffd"'.encode()),
    kind("odd characters", '"t":"\u2028\u2029\uffff\u007f\ufeff\\u0001\\u001F😀"'.encode()),
]

NUMBERS = [
    kind("numbers beyond a double", b'"a":1e400,"b":-1e400,"c":9223372036854775808,"d":-0.0,"e":1E2'),
    kind("exact integers", b'"a":123456789012345678,"b":-999999999999999999,"c":18446744073709551617'),
    kind("exact decimals", b'"a":123456789012345678901234567890.0123456789012345678901234567890,"b":1.50'),
    kind("the last numbers that fit", b'"a":1e131071,"b":1e-16383,"c":%s,"d":0e200000' % (b"9" * 131_072)),
    kind(
        "numbers beyond numeric",
        b'"a":1e140000,"b":[-1e131072,1e-16384,{"c":%s}],"t":"1e140000 \\" 1e140000","d":1'
        % (b"9" * 200_000),
        (rb'"a":"\ufffd","b":["\ufffd","\ufffd",{"c":"\ufffd"}],"t":"1e140000 \" 1e140000","d":1', 4),
    ),
    kind(
        "nul and a number beyond numeric", rb'"t":"\u0000","n":1e140000', (rb'"t":"\ufffd","n":"\ufffd"', 2)
    ),
]

BYTES = [
    kind("no utf-8 in a value", b'"t":"a\xffb","u":"\xc5\xbe"', (b'"t":"a\xef\xbf\xbdb","u":"\xc5\xbe"', 1)),
    kind("no utf-8 in a key", b'"\xc5":1', (b'"\xef\xbf\xbd":1', 1)),
    kind("utf-8 cut off", b'"t":"\xe2\x82"', (b'"t":"\xef\xbf\xbd"', 1)),
    kind("half a pair as bytes", b'"t":"\xed\xa0\x80"', (b'"t":"%s"' % (b"\xef\xbf\xbd" * 3), 3)),
    Kind(
        "no utf-8 in the id",
        "",
        Change(b'"id\xff"', b'"1-a"', b'{"_id":"id\xff","_rev":"1-a"}'),
        Letter("malformed", unreadable=True),
    ),
    kind("no json: a raw control character", b'"t":"\x01"', Letter("malformed")),
    kind("no json: NaN", b'"t":NaN', Letter("malformed")),
    Kind("no object", "no object", Change(b'"no object"', b'"1-a"', b"[1]"), Letter("malformed")),
]

SIZES = [
    kind("a thousand levels", b'"d":' + nested(1_000)),
    kind("too many levels", b'"d":' + nested(LEVELS), Letter("54001")),
    kind("too many levels and half a pair", rb'"t":"\ud800","d":' + nested(LEVELS), Letter("malformed")),
    kind(
        "too many levels and a number beyond numeric",
        b'"n":1e140000,"d":' + nested(LEVELS),
        Letter("54001", noted=True),
    ),
    kind("twenty megabytes", b'"t":"%s"' % (b"0123456789" * 2_000_000)),
    kind("an id that does not fit the index", b'"n":1', Letter("54000"), id=LONG_ID),
    kind("a long id that compresses", b'"n":1', id="a" * 10_000),
]

IDENTITIES = [
    kind("an id with quotes", b'"n":1', id='it\'s "quoted" `so`'),
    kind("an id with line ends", b'"n":1', id="a\nb\r\tc"),
    kind("an id with an emoji", b'"n":1', id="😀 žluťoučký"),
    kind("an id with percent signs", b'"n":1', id="100%{[doc][_rev]} %41 %s %"),
    kind("an id with backslashes", b'"n":1', id="a\\u0000 \\"),
    kind("an id with brackets", b'"n":1', id="[doc][_id] {$1} ),(--"),
    kind("an id with nul", b'"n":1', Letter("22P05"), id="a\0b"),
    kind("an id with half a pair", b'"n":1', Letter("22P05"), id="a\ud800b"),
    kind("a design document", b'"views":{"v":{"map":"function (doc) {}"}}', id="_design/medic"),
]

SHAPES = [
    kind("duplicate keys", b'"a":1,"b":2,"a":{"a":3,"a":4}'),
    kind(
        "members named like ours",
        b'"doc":{"_id":"x","_rev":"y","doc":null},"id":"z","message":"{\\"_id\\":1}"',
    ),
    kind(
        "a message that is no json", b'"message":"{","tags":1,"@timestamp":"no time","@metadata":{"_id":"x"}'
    ),
    kind("empty keys", b'"":{"":[null,true,false,"",{},[]]}'),
    kind(
        "an attachment's stub",
        b'"_attachments":{"a.txt":{"content_type":"text/plain","revpos":1,"digest":"md5-x==","length":3,"stub":true}}',
    ),
    kind("conflicts", b'"_conflicts":["1-b","1-c"],"_deleted_conflicts":["2-d"]'),
    Kind(
        "a document that the feed left out",
        "left out",
        Change(b'"left out"', b'"1-a"', None),
        STORED,
        fetched=document("left out", b'"n":1'),
    ),
    Kind(
        "a document left out that had nul",
        "left out, nul",
        Change(b'"left out, nul"', b'"1-a"', None),
        Replaced(document("left out, nul", rb'"n":"\ufffd"'), 1),
        fetched=document("left out, nul", rb'"n":"\u0000"'),
    ),
    Kind(
        "a document left out whose id has half a pair",
        "left out \ud800",
        Change(rb'"left out \ud800"', b'"1-a"', None),
        Letter("no_document"),
    ),
    Kind(
        "a document that is nowhere", "nowhere", Change(b'"nowhere"', b'"1-a"', None), Letter("no_document")
    ),
]

KINDS = [*ESCAPES, *NUMBERS, *BYTES, *SIZES, *IDENTITIES, *SHAPES]
