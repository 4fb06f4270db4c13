"""couchdb_changes: every change of a CouchDB database, in order, with its document.

Delivery: at least once. A batch moves the saved position only when the outputs have all of it; after
a crash what was not acknowledged is read again. Of several changes of one document that wait together,
only the last is given.

Options and events are those of logstash-input-couchdb_changes 3.1.6; `batch_size`, `sequence_store` and
`keep_tombstone` are ours. Two differences, both because the original loses or doubles data there: the
position is saved after delivery, not before; and a reconnection goes on from it. With `sequence_store =>
"postgrest"` the file is written for Logstash's sake and never read: it knows nothing of which database at
the other end it belongs to, and one that was emptied or replaced must be filled from the start. The
position there also says which CouchDB and which instance of the database it belongs to, so that a
replaced one is noticed; one that is kept in the file does not.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from cht_sync.pipeline.checkpoint import SequenceFile
from cht_sync.pipeline.contracts import Batch, Position
from cht_sync.pipeline.couchdb.client import CouchdbClient, Server
from cht_sync.pipeline.couchdb.events import EventShape, event_maker
from cht_sync.pipeline.couchdb.handoff import Gathered, Handoff
from cht_sync.pipeline.couchdb.identity import Identity
from cht_sync.pipeline.couchdb.login import gate_for
from cht_sync.pipeline.couchdb.missing import missing_documents
from cht_sync.pipeline.couchdb.reader import FROM_THE_START, ChangesReader, Pace
from cht_sync.pipeline.decorate import decorate_read
from cht_sync.pipeline.monitor.metrics import InputMetrics
from cht_sync.pipeline.plugins import InputOptions, Password, PluginContext, option, register_input

MOST_BYTES = 32 << 20
"""Bytes of documents that may wait for delivery."""
CLOSE_TIMEOUT = 5.0
"""Seconds that the reading thread gets to end."""


@dataclass(frozen=True, kw_only=True)
class Options(InputOptions):
    """What can be set in a `couchdb_changes` block."""

    db: str = option("string", required=True, help="Database, as it goes into the URL (percent-encoded)")
    host: str = option("string", default="localhost", help="Host")
    port: int = option("number", default=5984, help="Port")
    secure: bool = option("boolean", default=False, help="Use https")
    ca_file: Path | None = option("path", default=None, help="Certificate authority for https")
    username: str | None = option("string", default=None, help="User for Basic authentication")
    password: Password | None = option("password", default=None, help="The user's password")
    heartbeat: int = option("number", default=1000, help="Milliseconds between signs of life of the feed")
    sequence_path: str | None = option(
        "string", default=None, help="File that keeps the position; unset: .couchdb_seq in the home folder"
    )
    initial_sequence: str | None = option(
        "string", default=None, help="Where to begin when no position is saved: a sequence, or now"
    )
    keep_id: bool = option("boolean", default=False, help="Keep _id in the document")
    keep_revision: bool = option("boolean", default=False, help="Keep _rev in the document")
    ignore_attachments: bool = option("boolean", default=True, help="No effect; stubs are always kept")
    always_reconnect: bool = option("boolean", default=True, help="Connect again when the feed ends")
    reconnect_delay: int = option("number", default=10, help="Longest pause in seconds before that")
    batch_size: int = option("number", default=1000, help="Most changes in one batch (not in Logstash)")
    sequence_store: str = option(
        "string",
        default="file",
        choices=("file", "postgrest"),
        help="Who keeps the position: the file, or the http output's PostgREST (not in Logstash)",
    )
    keep_tombstone: bool = option(
        "boolean", default=False, help="Give deletions with their document (not in Logstash)"
    )
    keep_rejected: bool = option(
        "boolean",
        default=True,
        help="Keep the text of a change that cannot be read with its dead letter (not in Logstash)",
    )


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
        self._file = SequenceFile(path, authoritative=not kept_elsewhere)
        shape = EventShape(database, options.keep_id, options.keep_revision, options.keep_tombstone)
        self._make_event = event_maker(shape, decorate_read(options))
        self._handoff = Handoff(options.batch_size, MOST_BYTES)
        self._server = Server(
            address,
            options.db,
            options.username or "",
            options.password.value if options.password else "",
            str(options.ca_file) if options.ca_file else None,
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
            position = Position(self.name, saved) if saved else None
        else:
            known = _identity(position) if position else Identity()
        self._read_until = position
        self._rereading = position is not None and position.rereading
        self._caught_up = False
        # A new one: after a stand-by the input is started again, and the old one is closed for good.
        self._handoff = Handoff(options.batch_size, MOST_BYTES)
        self._reader = ChangesReader(
            self._new_client(),
            self._handoff,
            self._make_event,
            source=self.name,
            since=position.sequence if position else options.initial_sequence or FROM_THE_START,
            pace=Pace(options.batch_size, options.heartbeat / 1000, float(options.reconnect_delay)),
            known=known,
            metrics=self._metrics,
        )
        self._metrics.connecting()
        self._reader.start()

    def read(self, stop: threading.Event, timeout: float) -> Batch | None:
        gathered = None if stop.is_set() else self._handoff.take(timeout)
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
            if self._options.keep_rejected
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

    def _new_client(self) -> CouchdbClient:
        return CouchdbClient(self._server, gate_for(self._server.address, self._server.user))

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
    """Make the input; nothing is connected before `start`."""
    return CouchdbChanges(options, context)
