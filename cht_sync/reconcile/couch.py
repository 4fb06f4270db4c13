"""What verify, repair, resync and load ask CouchDB: lists without documents, the state of some, documents.

A question whose answer breaks is asked again with growing pauses; after `TRIES` its error is raised. A
refused login ends everything at once and is remembered, so that the account is not locked.

`_all_docs` is in the order of the bytes of the ids, also over several shards (CouchDB merges them by id,
without collation; recorded answers show it, and so does PouchDB). Code points sort as their UTF-8 does, so
texts are compared as they are.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import dropwhile
from typing import NamedTuple, TypeVar

import msgspec

from cht_sync import backoff
from cht_sync.errors import LoginRefused, SourceError, SourceUnavailable
from cht_sync.pipeline.couchdb.client import CouchdbClient, Server
from cht_sync.pipeline.couchdb.identity import Identity
from cht_sync.pipeline.couchdb.login import gate_for
from cht_sync.pipeline.couchdb.refusals import RememberedRefusal
from cht_sync.pipeline.couchdb.rows import (
    NO_DOCUMENT,
    PageEnd,
    Revision,
    decode_row,
    page_rows,
    sequence_text,
)
from cht_sync.pipeline.couchdb.rows import Row as FeedRow
from cht_sync.pipeline.document import decode_json, encode_json
from cht_sync.reconcile.state import State
from cht_sync.settings import Settings, file_name

log = logging.getLogger(__name__)

PAGE = 10_000
"""Rows asked for at once."""
DOCUMENTS_PAGE = 1_000
"""Documents asked for at once; they are taken as they come, so no page is ever held."""
TRIES = 6
"""So often a question is asked; the pauses between add up to half a minute."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
RANGE_BYTES = 4 << 20
"""Of documents that an answer about a range shall hold, as far as the one before lets us guess."""
FEWEST_OF_RANGE, MOST_OF_RANGE = 10, 2_000
"""Documents of a range that are asked for at once."""
LONGEST_KEY = 500
"""Characters of an id that go into a URL: CouchDB refuses a request line over 8 KB."""
FROM_THE_START = "0"
DOCUMENT_START = b'"docs":[{"ok":'
DOCUMENT_END = b"}]}]}"

Answer = TypeVar("Answer")


class Document(NamedTuple):
    """A document as the feed gave it, deleted or not, and what CouchDB holds of it."""

    id: str
    state: State
    content: bytes


class Change(msgspec.Struct):
    """A row of the changes feed without its document."""

    id: str
    changes: list[Revision]
    deleted: bool = False

    @property
    def state(self) -> State:
        """What CouchDB holds of the document."""
        return State(self.changes[0].rev if self.changes else None, self.deleted)


class _Value(msgspec.Struct):
    rev: str
    deleted: bool = False


class _Listed(msgspec.Struct):
    key: str
    value: _Value | None = None
    error: str | None = None


class _Listing(msgspec.Struct):
    rows: list[_Listed]


class _Kept(msgspec.Struct):
    key: str
    value: _Value | None = None
    doc: msgspec.Raw = msgspec.Raw(b"")


class _KeptListing(msgspec.Struct):
    rows: list[_Kept]


class _Changes(msgspec.Struct):
    results: list[Change]
    last_seq: msgspec.Raw


class _Information(msgspec.Struct):
    doc_count: int


class _Given(msgspec.Struct):
    ok: msgspec.Raw = msgspec.Raw(b"")


class _GivenOf(msgspec.Struct):
    docs: list[_Given]
    id: str = ""


class _BulkGet(msgspec.Struct):
    results: list[_GivenOf]


class Couch:
    """One database. Every method raises SourceError."""

    def __init__(self, settings: Settings, database: str, stop: threading.Event) -> None:
        address, _, path = settings.couchdb_url.partition("://")
        host, _, prefix = path.partition("/")
        user, password = settings.couchdb_user, settings.couchdb_password
        server = Server(
            f"{address}://{host}",
            f"{prefix}/{file_name(database)}".lstrip("/"),
            user,
            password,
            settings.couchdb_ca_file or None,
            by_settings=True,
        )
        self._client = CouchdbClient(server, gate_for(server.address, user, password, by_settings=True))
        self._refusal = RememberedRefusal(settings.data_folder, settings.couchdb_url, user, password)
        self._user = user
        self._database = database
        self._stop = stop

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def count(self) -> int:
        """How many documents there are; asked only once, so that a wrong address or name is told at once."""
        if self._refusal.lasts():
            raise LoginRefused(
                f"CouchDB has refused the login of {self._user}; not tried for five minutes",
                hint="Correct COUCHDB_USER and COUCHDB_PASSWORD: with others it is tried at once.",
            )
        return self._ask("", {}, _Information).doc_count

    def server_uuid(self) -> str | None:
        """Which server this is; None where it does not say."""
        return self.identity().server_uuid

    def identity(self) -> Identity:
        """Which server this is, and which instance of the database."""
        return self._client.identity(self._stop)

    def sequence(self) -> str:
        """The sequence of this moment: what is saved from now on comes after it."""
        page = self._persistently("_changes", {"limit": "1", "since": "now"}, _Changes)
        after = sequence_text(page.last_seq)
        if after is None:
            raise SourceUnavailable(f"{self._database}: CouchDB says no sequence")
        return after

    def key_after(self, begins: str, count: int) -> str | None:
        """The id before which there are `count` documents from `begins` on; None where there are fewer."""
        query = {"startkey": _key(begins), "skip": str(count), "limit": "1"}
        rows = self._persistently("_all_docs", query, _Listing).rows
        return rows[0].key if rows else None

    def range(self, begins: str, ends: str | None) -> Iterator[list[Document]]:
        """Yield the living documents with ids from `begins` up to before `ends`, some at a time.

        One that goes while it is read is left out; each id comes once.
        """
        last, limit, is_first = begins, FEWEST_OF_RANGE * 10, True
        bound = {} if ends is None else {"endkey": _key(ends), "inclusive_end": "false"}
        while True:
            rows = self._with_documents({"startkey": _key(last), "limit": str(limit), **bound})
            new = rows if is_first else [row for row in rows if row.key > last]
            yield [_of_range(row) for row in new if bytes(row.doc) not in NO_DOCUMENT]
            if len(rows) < limit:
                return
            if not new:
                if limit == MOST_OF_RANGE:
                    raise SourceError(f"{self._database}: _all_docs does not go on after {last!r:.80}")
                limit = MOST_OF_RANGE  # many ids that begin alike, over the length of a URL
                continue
            last, is_first = new[-1].key, False
            each = sum(len(bytes(row.doc)) for row in rows) // len(rows) + 1
            limit = min(max(RANGE_BYTES // each, FEWEST_OF_RANGE), MOST_OF_RANGE)

    def listed(self) -> Iterator[tuple[str, str]]:
        """Yield id and revision of every living document, in the server's order."""
        last: str | None = None
        while True:
            query = {"limit": str(PAGE)}
            if last is not None:
                query["startkey"] = _key(last)
            rows = self._persistently("_all_docs", query, _Listing).rows
            new = rows if last is None else _after(last, rows)
            for row in new:
                if row.value is not None:
                    yield row.key, row.value.rev
            if len(rows) < PAGE:
                return
            if not new:
                raise SourceError(f"{self._database}: _all_docs does not go on after {last!r:.80}")
            last = new[-1].key

    def changes(self, since: str = FROM_THE_START) -> Iterator[list[Change]]:
        """Yield the changes after `since`, deletions included, a page at a time, until there are no more."""
        for page, _after in self.pages(since):
            if page:
                yield page

    def pages(self, since: str) -> Iterator[tuple[list[Change], str]]:
        """As `changes`, each page with the sequence after it; the last one may be empty."""
        while True:
            page = self._persistently("_changes", {"limit": str(PAGE), "since": since}, _Changes)
            after = sequence_text(page.last_seq)
            yield page.results, after or since
            if len(page.results) < PAGE or after is None:
                return
            since = after

    def documents(self) -> Iterator[Document]:
        """Yield every document as the pipeline receives it, deletions included, in the feed's order.

        One that is changed meanwhile may come twice, or not at all: the feed has it again afterwards. The
        connection waits while the caller is at work; where it breaks, reading goes on behind the last row.
        """
        since: str | None = FROM_THE_START
        delays = backoff.delays(first=FIRST_PAUSE, most=LONGEST_PAUSE)
        tries = 0
        while since is not None:
            reached = since
            try:
                with self._client.page(since, DOCUMENTS_PAGE, self._stop) as feed:
                    count, end = 0, None
                    for item in page_rows(feed.chunks()):
                        if isinstance(item, PageEnd):
                            end = sequence_text(item.last_seq)
                            break
                        count += len(item)
                        for row in self._decoded_rows(item):
                            if (document := self._with_content(row)) is not None:
                                yield document
                            since = sequence_text(row.seq) or since
                since = end if count >= DOCUMENTS_PAGE else None
            except LoginRefused:
                self._refusal.begin()
                raise
            except SourceUnavailable as failure:
                if since != reached:
                    delays, tries = backoff.delays(first=FIRST_PAUSE, most=LONGEST_PAUSE), 0
                tries += 1
                if tries == TRIES:
                    raise
                seconds = next(delays)
                log.warning("%s: %s; next try in %.2g s", self._database, failure, seconds)
                self._stop.wait(seconds)

    def pending(self, since: str) -> int | None:
        """How many changes there are after `since`; None where the server does not say."""
        return self._persistently("_changes", {"limit": "0", "since": since}, PageEnd).pending

    def states(self, ids: Sequence[str]) -> dict[str, State]:
        """Return what CouchDB holds of these documents, deleted ones included; unknown ones are left out."""
        listing = self._persistently("_all_docs", {}, _Listing, {"keys": list(ids)})
        found: dict[str, State] = {}
        unknown: set[str] = set()
        for row in listing.rows:
            if row.value is not None:
                found[row.key] = State(row.value.rev, row.value.deleted)
            elif row.error == "not_found":
                unknown.add(row.key)
        # What CouchDB is not known to lack must never be taken for purged.
        silent = [one for one in ids if one not in found and one not in unknown]
        if silent:
            raise SourceUnavailable(f"{self._database}: CouchDB says nothing of {silent[0]!r:.80}")
        return found

    def document(self, document_id: str, rev: str) -> bytes | None:
        """Return a revision, deleted or not, as bytes; None where CouchDB does not have it (any more).

        By `_bulk_get`, since an id of some kilobytes does not fit into a URL.
        """
        wanted = {"docs": [{"id": document_id, "rev": rev}]}
        answer = bytes(self._persistently("_bulk_get", {}, msgspec.Raw, wanted))
        try:
            results = msgspec.json.decode(answer, type=_BulkGet).results
        except (msgspec.DecodeError, RecursionError):
            # A lone surrogate, or nesting that Python cannot follow; the document is passed on as it is.
            _, found, rest = answer.rstrip().partition(DOCUMENT_START)
            return rest.removesuffix(DOCUMENT_END) if found else None
        given = bytes(results[0].docs[0].ok) if results and results[0].docs else b""
        return given or None

    def _with_documents(self, query: dict[str, str]) -> list[_Kept]:
        """A part of `_all_docs` with documents, as the bytes that came."""
        answer = bytes(self._persistently("_all_docs", {**query, "include_docs": "true"}, msgspec.Raw))
        try:
            return msgspec.json.decode(answer, type=_KeptListing).rows
        except (msgspec.DecodeError, RecursionError):
            pass  # one of them cannot be decoded, or it is no answer of CouchDB's, which the next one shows
        rows = self._persistently("_all_docs", query, _Listing).rows
        return [
            _Kept(row.key, row.value, msgspec.Raw(self.document(row.key, row.value.rev) or b""))
            for row in rows
            if row.value is not None
        ]

    def contents(self, wanted: Mapping[str, State]) -> list[Document]:
        """The documents in these states, deleted ones too; what has moved on since is left out."""
        question = {"docs": [{"id": one, "rev": state.rev or ""} for one, state in wanted.items()]}
        answer = bytes(self._persistently("_bulk_get", {}, msgspec.Raw, question))
        try:
            results = msgspec.json.decode(answer, type=_BulkGet).results
        except (msgspec.DecodeError, RecursionError):
            # One of them cannot be decoded: each by itself is passed on as it is.
            each = ((one, state, self.document(one, state.rev or "")) for one, state in wanted.items())
            return [Document(one, state, content) for one, state, content in each if content is not None]
        given = {result.id: bytes(result.docs[0].ok) for result in results if result.docs}
        return [
            Document(one, wanted[one], content) for one, content in given.items() if content and one in wanted
        ]

    def _decoded_rows(self, lines: Sequence[bytes]) -> Iterator[FeedRow]:
        for line in lines:
            try:
                yield decode_row(line)
            except ValueError as error:
                # The pipeline has made a dead letter of it.
                log.warning("%s: a row of the feed is no JSON and is passed over: %s", self._database, error)

    def _with_content(self, row: FeedRow) -> Document | None:
        """The row's document, asked for where the feed left it out; None where it has moved on."""
        state = State(row.changes[0].rev if row.changes else None, row.deleted)
        content: bytes | None = bytes(row.doc)
        if content in NO_DOCUMENT:
            content = self.document(row.id, state.rev or "")
        return None if content is None else Document(row.id, state, content)

    def _persistently(
        self, path: str, query: dict[str, str], kind: type[Answer], body: object = None
    ) -> Answer:
        delays = backoff.delays(first=FIRST_PAUSE, most=LONGEST_PAUSE)
        for _try in range(TRIES - 1):
            try:
                return self._ask(path, query, kind, body)
            except SourceUnavailable as failure:
                if self._stop.is_set():
                    raise
                seconds = next(delays)
                log.warning("%s: %s; next try in %.2g s", self._database, failure, seconds)
                self._stop.wait(seconds)
        return self._ask(path, query, kind, body)

    def _ask(self, path: str, query: dict[str, str], kind: type[Answer], body: object = None) -> Answer:
        sent = None if body is None else encode_json(body)
        try:
            answer = self._client.ask(path, query, self._stop, body=sent)
        except LoginRefused:
            self._refusal.begin()
            raise
        return _decoded(answer, kind)


def _after(last: str, rows: list[_Listed]) -> list[_Listed]:
    """The rows behind the last one of the page before, with which or near which this page begins."""
    if len(last) > LONGEST_KEY:
        return list(dropwhile(lambda row: row.key <= last, rows))
    return rows[1:] if rows and rows[0].key == last else rows


def _key(document_id: str) -> str:
    """An id as a parameter; of a long one the beginning, which sorts before it."""
    return encode_json(document_id[:LONGEST_KEY]).decode()


def _of_range(row: _Kept) -> Document:
    revision = None if row.value is None else row.value.rev
    return Document(row.key, State(revision, False), bytes(row.doc))


def _decoded(answer: bytes, kind: type[Answer]) -> Answer:
    if kind is msgspec.Raw:
        return msgspec.Raw(answer)  # type: ignore[return-value]
    try:
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.DecodeError, RecursionError):
        pass  # an id with a lone surrogate, which JSON allows and this decoder refuses
    try:
        return msgspec.convert(decode_json(answer), kind)
    except (ValueError, RecursionError) as error:
        shown = answer[:80].decode(errors="replace")
        raise SourceUnavailable(f"the answer is not CouchDB's; it begins {shown!r}") from error
