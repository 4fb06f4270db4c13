"""couchdb_changes: every change of a CouchDB database, in order, with its document.

Delivery: at least once. A batch moves the saved position only when the outputs have all of it; after
a crash what was not acknowledged is read again. Of several changes of one document that wait together,
only the last is given.

Options and events are those of logstash-input-couchdb_changes 3.1.6; those marked so are ours. Where the
original loses, doubles or blocks data, this one does not: the position is saved after delivery, not before; a
reconnection goes on from it; `initial_sequence` counts only where no position is saved; a line that is no
JSON is a dead letter, and what comes behind it is read; `always_reconnect => false` ends the input with the
feed, and with an error at the first failure.

With `sequence_store => "postgrest"` the file is written for Logstash's sake and never read: it knows nothing
of which database at the other end it belongs to, and one that was emptied or replaced must be filled from the
start. The position there also says which CouchDB and which instance of the database it belongs to, so that
a replaced one is noticed; one that is kept in the file does not. Beside the file, `<sequence_path>.source`
says host, port and database: a sequence of another one stops the pipeline at start.

With a `selector` a document that ceases to match is not heard of any more: what was made of it stays as it
was. While nothing matches, the position stays too; after a restart the changes since then are looked through
again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import msgspec

from cht_sync.pipeline.checkpoint import SequenceFile
from cht_sync.pipeline.contracts import Batch, Position
from cht_sync.pipeline.couchdb.client import Asked, Authentication, CouchdbClient, Server
from cht_sync.pipeline.couchdb.events import USERS_DATABASE, EventShape, bare_event_maker, event_maker
from cht_sync.pipeline.couchdb.handoff import Gathered, Handoff
from cht_sync.pipeline.couchdb.identity import Identity
from cht_sync.pipeline.couchdb.login import gate_for, gate_for_token
from cht_sync.pipeline.couchdb.missing import missing_documents
from cht_sync.pipeline.couchdb.reader import FROM_THE_START, ChangesReader, Mode, Pace
from cht_sync.pipeline.decorate import decorate_read
from cht_sync.pipeline.monitor.metrics import InputMetrics
from cht_sync.pipeline.plugins import (
    CodecChoice,
    Contradictions,
    InputOptions,
    Password,
    PluginContext,
    option,
    register_input,
    whole,
)

MOST_CHANGES = 1000
"""In one batch, where neither the option nor the settings say it."""
MOST_BYTES = 32 << 20
"""Bytes of documents that may wait for delivery."""
SHORTEST_PAUSE = 0.2
"""Seconds between two tries at least: a server that is dead must not be asked without pause."""
CLOSE_TIMEOUT = 5.0
"""Seconds that the reading thread gets to end."""


def _check_selector(text: str | None) -> None:
    if text is None:
        return
    try:
        msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise ValueError(f"expected a JSON object: {error}") from None


def _not_negative(value: float) -> None:
    if value < 0:
        raise ValueError(f"expected 0 or more, got {value}")


def _at_least_one(value: float | None) -> None:
    if value is not None and value < 1:
        raise ValueError("expected at least 1")


@dataclass(frozen=True, kw_only=True)
class Options(InputOptions):
    """What can be set in a `couchdb_changes` block."""

    db: str = option("string", required=True, help="Database, as it goes into the URL (percent-encoded).")
    host: str = option("string", default="localhost", help="Host.")
    port: int = option("number", default=5984, check=whole(1, 65_535), help="Port.")
    secure: bool = option("boolean", default=False, help="Use https.")
    ca_file: Path | None = option(
        "path", default=None, help="With https: a PEM file of the authority that is trusted."
    )
    username: str | None = option("string", default=None, help="User who reads.")
    password: Password | None = option("password", default=None, help="The user's password.")
    auth: Authentication = option(
        "string",
        default="basic",
        choices=("basic", "session", "bearer"),
        help="How: with user and password in each request, with a cookie that they are exchanged for, or "
        "with `bearer_token` (not in Logstash).",
    )
    bearer_token: Password | None = option(
        "password", default=None, help='A JSON web token, with `auth => "bearer"` (not in Logstash).'
    )
    heartbeat: float = option(
        "number", default=1000, check=_at_least_one, help="Milliseconds between signs of life of the feed."
    )
    timeout: float | None = option(
        "number",
        default=None,
        check=_at_least_one,
        help="Milliseconds without a change after which the feed ends, and is asked for again; in place of "
        "`heartbeat`.",
    )
    sequence_path: str | None = option(
        "string", default=None, help="File that keeps the position; unset: .couchdb_seq in the home folder."
    )
    initial_sequence: str | None = option(
        "string", default=None, help="Where to begin when no position is saved: a sequence, or `now`."
    )
    keep_id: bool = option("boolean", default=False, help="Keep `_id` in the document.")
    keep_revision: bool = option("boolean", default=False, help="Keep `_rev` in the document.")
    ignore_attachments: bool = option(
        "boolean", default=True, help="No effect, as in Logstash: stubs stay, contents are never read."
    )
    always_reconnect: bool = option(
        "boolean",
        default=True,
        help="Connect again when the feed ends or fails; false: the input ends then, in order or with an "
        "error.",
    )
    reconnect_delay: float = option(
        "number", default=10, check=_not_negative, help="Longest pause in seconds before that."
    )
    codec: CodecChoice | None = option("codec", default="plain", help="No effect: rows are JSON.")
    mode: Mode = option(
        "string",
        default="continuous",
        choices=("continuous", "longpoll", "normal"),
        help="Follow a live feed; or ask for the next changes again and again, where a proxy holds a live "
        "feed back; or end when all has been read (not in Logstash).",
    )
    include_docs: bool = option(
        "boolean",
        default=True,
        help="Read the documents; false: an event is `[@metadata]` only, with `_rev` (not in Logstash).",
    )
    selector: str | None = option(
        "string",
        default=None,
        check=_check_selector,
        help="Read only changes of documents that match: a Mango selector in JSON (not in Logstash).",
    )
    batch_size: int | None = option(
        "number",
        check=whole(1),
        help="Most changes in one batch; unset: pipeline.batch.size, else 1000 (not in Logstash).",
    )
    sequence_store: str = option(
        "string",
        default="file",
        choices=("file", "postgrest"),
        help="Who keeps the position: the file, or the http output's PostgREST (not in Logstash).",
    )
    keep_tombstone: bool = option(
        "boolean", default=False, help="Give deletions with their document (not in Logstash)."
    )
    keep_rejected: bool = option(
        "boolean",
        default=True,
        help="Keep the text of a change that cannot be read with its dead letter; never of `_users` (not in "
        "Logstash).",
    )

    def __post_init__(self) -> None:
        problems = _problems(self)
        if problems:
            raise Contradictions(problems)


def _problems(options: Options) -> list[str]:
    problems = []
    if options.auth == "bearer":
        if options.bearer_token is None:
            problems.append('auth => "bearer" needs the option "bearer_token"')
        if options.username is not None or options.password is not None:
            problems.append('auth => "bearer" goes without username and password')
    elif options.bearer_token is not None:
        problems.append('bearer_token needs auth => "bearer"')
    if options.auth == "session" and not (options.username and options.password):
        problems.append('auth => "session" needs username and password')
    if not options.include_docs:
        if options.sequence_store == "postgrest":
            problems.append('sequence_store => "postgrest" needs the documents; leave include_docs out')
        kept = [name for name in ("keep_id", "keep_revision", "keep_tombstone") if getattr(options, name)]
        problems += [f"{name} has no meaning without documents; leave it out" for name in kept]
    return problems


class CouchdbChanges:
    """The input; see the module."""

    def __init__(self, options: Options, context: PluginContext) -> None:
        self._options = options
        scheme = "https" if options.secure else "http"
        address = f"{scheme}://{options.host}:{options.port}"
        database = unquote(options.db.rsplit("/", 1)[-1])
        self.name = f"{options.host}/{database}"
        kept_elsewhere = options.sequence_store == "postgrest"
        self.source: str | None = self.name if kept_elsewhere else None
        self._metrics = context.metrics_of(InputMetrics)
        self._metrics.source = self.name
        path = Path(options.sequence_path) if options.sequence_path else Path.home() / ".couchdb_seq"
        where = f"{options.host.lower()}:{options.port}/{unquote(options.db).strip('/')}"
        self._file = SequenceFile(path, authoritative=not kept_elsewhere, source=where)
        self.position_file: Path | None = None if kept_elsewhere else path.absolute()
        if not kept_elsewhere:
            self._file.load()
        self._batch_size = options.batch_size or context.batch_size or MOST_CHANGES
        self._batch_delay = context.batch_delay or 0.0
        decorate = decorate_read(options)
        shape = EventShape(database, options.keep_id, options.keep_revision, options.keep_tombstone)
        self._make_event = (
            event_maker(shape, decorate) if options.include_docs else bare_event_maker(decorate)
        )
        # What could not be read could not be freed of its password material either.
        self._keeps_rejected = options.keep_rejected and database != USERS_DATABASE
        self._handoff = Handoff(self._batch_size, MOST_BYTES, self._batch_delay)
        self._server = Server(
            address,
            options.db,
            options.username or "",
            options.password.value if options.password else "",
            str(options.ca_file) if options.ca_file else None,
            options.auth,
            options.bearer_token.value if options.bearer_token else "",
        )
        self._reader: ChangesReader | None = None
        self._read_until: Position | None = None
        self._rereading = self._caught_up = False
        self._has_news = False
        """Whether the position says something new though no change has come."""

    def start(self, position: Position | None, stop: threading.Event) -> None:
        options = self._options
        known = None
        if self.source is None:
            saved = self._file.load()
            self._file.adopt()
            position = Position(self.name, saved) if saved else None
        else:
            known = _identity(position) if position else Identity()
        self._read_until = position
        self._rereading = position is not None and position.rereading
        self._caught_up = False
        # A new one: after a stand-by the input is started again, and the old one is closed for good.
        self._handoff = Handoff(self._batch_size, MOST_BYTES, self._batch_delay)
        self._reader = ChangesReader(
            self._new_client(),
            self._handoff,
            self._make_event,
            source=self.name,
            since=position.sequence if position else options.initial_sequence or FROM_THE_START,
            pace=Pace(
                self._batch_size,
                options.heartbeat / 1000,
                max(SHORTEST_PAUSE, options.reconnect_delay),
                None if options.timeout is None else options.timeout / 1000,
                options.mode,
                options.always_reconnect,
            ),
            known=known,
            metrics=self._metrics,
            documents=options.include_docs,
        )
        self._metrics.connecting()
        self._reader.start()

    def read(self, stop: threading.Event, timeout: float) -> Batch | None:
        gathered = None if stop.is_set() else self._handoff.take(timeout)
        if gathered is None and self._has_to_settle() and not stop.is_set():
            if not self._has_news:
                stop.wait(timeout)
            gathered = Gathered()
        if gathered is None or self._reader is None:
            return None
        position = self._follow_position(gathered)

        def acknowledge() -> None:
            if position is not None:
                self._file.save(position.sequence)
            self._metrics.acknowledged(gathered.changes)

        return Batch(
            list(gathered.events.values()),
            gathered.rejected
            if self._keeps_rejected
            else [replace(one, document=None) for one in gathered.rejected],
            position,
            acknowledge,
            reread=self._rereading and self._caught_up,
        )

    def missing(self, document_ids: Sequence[str], stop: threading.Event) -> set[str]:
        """See contracts.Replaceable."""
        client = self._new_client()
        try:
            return missing_documents(client, document_ids, stop)
        finally:
            client.close()

    def settled(self) -> None:
        """See contracts.Replaceable."""
        self._rereading = False
        self._has_news = True

    def interrupt(self) -> None:
        self._handoff.close()

    def close(self) -> None:
        self._handoff.close()
        if self._reader is not None:
            self._reader.close()
            self._reader.join(CLOSE_TIMEOUT)
        self._file.flush()

    def _has_to_settle(self) -> bool:
        """Whether all has been read, and what a replaced database does not have is still looked for."""
        return self._handoff.ended and (self._has_news or (self._rereading and self._caught_up))

    def _new_client(self) -> CouchdbClient:
        server = self._server
        if server.authentication == "bearer":
            gate = gate_for_token(server.address, server.token)
        else:
            gate = gate_for(server.address, server.user, server.password)
        return CouchdbClient(server, gate, Asked(self._options.include_docs, self._options.selector))

    def _follow_position(self, gathered: Gathered) -> Position | None:
        """Return the position after what was gathered; where nothing was, and nothing waits, the last one."""
        last, position = self._read_until, gathered.position
        if position is None:
            is_live = self._reader is not None and self._reader.live.is_set()
            if last is None or len(gathered) or not (is_live or self._has_news):
                return None
            position = replace(last, pending=0) if is_live else last
        elif last is not None and _identity(last).is_another_instance(_identity(position)):
            self._rereading, self._caught_up = True, False
        self._caught_up |= gathered.caught_up
        self._has_news = False
        self._read_until = replace(position, rereading=self._rereading)
        return self._read_until


def _identity(position: Position) -> Identity:
    return Identity(position.server_uuid, position.instance_start_time)


@register_input("couchdb_changes", Options)
def build(options: Options, context: PluginContext) -> CouchdbChanges:
    """Make the input; nothing is connected before `start`.

    Raises ConfigError where the saved sequence belongs to another database.
    """
    return CouchdbChanges(options, context)
