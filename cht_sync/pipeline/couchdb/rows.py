"""Lines of a changes feed turned into rows.

Sources: CouchDB's documentation, "/{db}/_changes", and recorded answers of CouchDB 3.4. A normal feed
is `{"results":[`, one row a line, each but the last with a comma, then `],`, `"last_seq":...` and
`"pending":...}`. A continuous feed is one row a line and blank lines between them. Sequences are
opaque texts (other servers of the protocol: integers).
"""

from __future__ import annotations

import operator
import string
from collections.abc import Iterable, Iterator
from itertools import chain, dropwhile
from typing import Any

import msgspec

from cht_sync.errors import SourceUnavailable
from cht_sync.pipeline.couchdb.identity import is_header_value
from cht_sync.pipeline.document import decode_json

ROW_START = b'{"seq":'
PAGE_START = b'{"results":['
NO_DOCUMENT = (b"", b"null")
NO_SEQUENCE = msgspec.Raw(b"null")
"""What stands in a row where `seq_interval` leaves the sequence out."""
USUAL = f'"{string.ascii_letters}{string.digits}-_'.encode()
"""What the sequences of CouchDB and of the embedded server are made of, for a quick look at each row."""
WHOLE_WITHOUT_LINE_END = (b'{"results"', b"],", b'"last_seq"', b'{"last_seq"')
"""What may stand at the end of an answer without a line end; a row there has been cut off."""


class Revision(msgspec.Struct, gc=False):
    """One leaf of a document, as `changes` lists it."""

    rev: str


class Row(msgspec.Struct, gc=False):
    """A change. The document stays as the bytes that came: most are never looked into."""

    id: str
    seq: msgspec.Raw = msgspec.Raw(b"null")
    changes: list[Revision] = []
    deleted: bool = False
    doc: msgspec.Raw = msgspec.Raw(b"")


class Head(msgspec.Struct, gc=False):
    """What every document says of itself."""

    id: str = msgspec.field(name="_id", default="")
    rev: str = msgspec.field(name="_rev", default="")
    deleted: Any = msgspec.field(name="_deleted", default=None)


class _Page(msgspec.Struct):
    results: list[msgspec.Raw]
    last_seq: msgspec.Raw
    pending: int | None = None


class PageEnd(msgspec.Struct):
    """What a page says after its rows; a continuous feed when it ends."""

    last_seq: msgspec.Raw
    pending: int | None = None


_DOC_MEMBER = b',"doc":'
"""Where the document of a row begins; inside a text its quotes would be escaped."""

_decode_row = msgspec.json.Decoder(Row).decode
_decode_head = msgspec.json.Decoder(Head).decode
_decode_page = msgspec.json.Decoder(_Page).decode
_decode_page_end = msgspec.json.Decoder(PageEnd).decode


def decode_row(line: bytes) -> Row:
    """Return the change of one line. Raises ValueError where it is none, or its sequence cannot be read.

    A document that cannot be decoded (lone surrogates, nesting beyond what Python holds) is no
    reason to forget which document it is.
    """
    try:
        row = _decode_row(line)
    except (msgspec.DecodeError, RecursionError) as error:
        head, found, document = line.partition(_DOC_MEMBER)
        if not found or not document.endswith(b"}"):
            raise ValueError(str(error)) from error
        members = decode_json(head + b"}")
        if not isinstance(members, dict):
            raise ValueError(str(error)) from error
        sequence = msgspec.Raw(msgspec.json.encode(members.pop("seq", None)))
        row = msgspec.convert(members, Row)
        row.seq, row.doc = sequence, msgspec.Raw(document[:-1])
    _check_sequence(row.seq)
    return row


def decode_head(row: Row, document: bytes) -> Head:
    """Return what a document says of itself. Raises ValueError where it is no JSON object.

    Of one that Python cannot follow (nested too deeply) it is what its row says.
    """
    try:
        return _decode_head(document)
    except msgspec.DecodeError:
        members = decode_json(document)
        if not isinstance(members, dict):
            raise ValueError("the document is no JSON object") from None
        head = Head(members.get("_id", ""), members.get("_rev", ""), members.get("_deleted"))
        if not isinstance(head.id, str) or not isinstance(head.rev, str):
            raise ValueError("_id and _rev must be texts") from None
        return head
    except RecursionError:
        revision = row.changes[0].rev if row.changes else ""
        return Head(row.id, revision, True if row.deleted else None)


def sequence_text(raw: msgspec.Raw) -> str | None:
    """A sequence as the text to give back in `since`; None for null (`seq_interval` leaves some out)."""
    value = bytes(raw)
    if value == b"null":
        return None
    return str(msgspec.json.decode(value)) if value.startswith(b'"') else value.decode()


def split_lines(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the complete lines of each chunk that completes any; a row that was cut off is no line."""
    begun: list[bytes] = []
    for chunk in chunks:
        begun.append(chunk)
        if b"\n" not in chunk:
            continue
        *lines, rest = b"".join(begun).split(b"\n")
        begun = [rest]
        yield [line.rstrip(b"\r") for line in lines]
    last = b"".join(begun)
    if last.startswith(WHOLE_WITHOUT_LINE_END):
        yield [last]


def page_rows(chunks: Iterable[bytes]) -> Iterator[list[bytes] | PageEnd]:
    """Yield the rows of a normal feed as they come, as bytes, and the page's end last.

    A server may also send the whole page as one line. Raises SourceUnavailable when the answer is no
    changes feed, or ends before its end: the rows given before that are good.
    """
    lines = split_lines(chunks)
    # Heartbeats may come before everything else.
    first = next(filter(None, (list(dropwhile(operator.not_, group)) for group in lines)), [b""])
    if first[0] != PAGE_START:
        yield from _page_in_one([first, *lines])
        return
    end = bytearray()
    for group in chain([first[1:]], lines):
        rows: list[bytes] = []
        for line in group:
            if end or not line.startswith(b"{"):
                end += line
            else:
                rows.append(line.removesuffix(b","))
        if rows:
            yield rows
    text = bytes(end).lstrip(b"],\r\n ")
    try:
        yield _page_end(b"{" + text)
    except ValueError as error:
        raise SourceUnavailable("the page of changes ended before its end") from error


def page_pending(answer: bytes) -> int | None:
    """How many changes there are after a whole page; None where the server does not say.

    Raises ValueError where the answer is no page.
    """
    return _page_end(answer).pending


def continuous_end(line: bytes) -> PageEnd | None:
    """The line with which a continuous feed ends in order; None if it is another one."""
    if not line.startswith(b'{"last_seq"'):
        return None
    try:
        return _page_end(line)
    except ValueError:
        return None


def _page_in_one(groups: Iterable[list[bytes]]) -> Iterator[list[bytes] | PageEnd]:
    text = b"\n".join(line for group in groups for line in group)
    try:
        page = _decode_page(text)
        _check_sequence(page.last_seq)
    except (ValueError, RecursionError) as error:
        shown = text[:80].decode(errors="replace")
        raise SourceUnavailable(f"the answer is no page of changes; it begins {shown!r}") from error
    yield [bytes(row) for row in page.results]
    yield PageEnd(page.last_seq, page.pending)


def _page_end(text: bytes) -> PageEnd:
    """Raises ValueError where it is none."""
    try:
        end = _decode_page_end(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    _check_sequence(end.last_seq)
    return end


def _check_sequence(raw: msgspec.Raw) -> None:
    """Raises ValueError for what cannot be a header, as which sequences travel; CouchDB's all can.

    The decoder passes over what it is not asked for without looking into its texts.
    """
    if not bytes(raw).translate(None, USUAL):
        return
    try:
        value = msgspec.json.decode(raw)
    except RecursionError as error:
        raise ValueError("the sequence is nested too deeply") from error
    if not is_header_value(value if isinstance(value, str) else bytes(raw).decode()):
        raise ValueError("the sequence is not of printable ASCII")
