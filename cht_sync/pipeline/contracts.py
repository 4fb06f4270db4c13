"""The whole vocabulary of the engine: what an input, a filter and an output are to each other.

The engine can be read aloud::

    while (batch := source.read(stop)) is not None:
        if not deliver(outputs, through(filters, batch), stop):
            return                      # not acknowledged: read again next time
        batch.ack()

A batch carries its acknowledgement. Whoever reads it knows what to do once it is safe; whoever
delivers it never knows where it came from.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from cht_sync.pipeline.event import Event


@dataclass(frozen=True)
class Position:
    """How far a source was read.

    `source` is `<host>/<database>`; `sequence` is CouchDB's opaque `seq` (never compared, never
    parsed); `pending` is the number of changes behind it, None where the server does not say.
    `server_uuid` and `instance_start_time` are those of the CouchDB and of the database that the sequence
    belongs to, None where they are not known. `rereading` is true from the moment that a replaced
    database is read from its start until the rows that it does not have are tombstones.
    """

    source: str
    sequence: str
    pending: int | None = None
    server_uuid: str | None = None
    instance_start_time: str | None = None
    rereading: bool = False


class StoredDocument(NamedTuple):
    """A document that the destination has, not deleted."""

    document_id: str
    revision: str | None


@dataclass(frozen=True)
class Rejected:
    """A change that cannot become a row: it goes to the dead letters with the reason.

    `code` is an SQLSTATE, a PostgREST code, or a short word of our own; `document` is what was
    received, as text, so that nothing is lost even if the source forgets it.
    """

    document_id: str | None
    revision: str | None
    sequence: str | None
    code: str
    reason: str
    document: str | None = None


def _nothing() -> None:
    return None


@dataclass
class Batch:
    """Events in the order of the source, and what to do once all of them are safe.

    `rejected` are changes that the input itself could not turn into events. `position` is the
    place after the last event, None for inputs that cannot resume. `ack` moves the input's saved
    position; it is called once, and only when the outputs have everything. `reread` says that a replaced
    source has been read from its start up to here: what the destination has beyond it can go.
    """

    events: list[Event]
    rejected: list[Rejected] = field(default_factory=list)
    position: Position | None = None
    ack: Callable[[], None] = _nothing
    reread: bool = False


class Input(Protocol):
    """Where events come from."""

    source: str | None
    """`<host>/<database>` where the input can resume from a position kept by an output, else None."""

    def start(self, position: Position | None, stop: threading.Event) -> None:
        """Begin to read after `position`, or after the input's own saved one where it is None."""

    def read(self, stop: threading.Event, timeout: float) -> Batch | None:
        """Wait for the next batch; None when the input has ended or `stop` is set.

        A batch is whatever has arrived, never a wait for it to fill. After `timeout` seconds
        without a change the batch is empty, so that the caller can show that it lives.
        Raises SourceError only for what waiting cannot mend: OperatorNeeded where the saved position
        does not fit what is there.
        """

    def interrupt(self) -> None:
        """Make a `read` that waits in another thread return; called once `stop` is set."""

    def close(self) -> None:
        """Let go of connections and threads; may be called twice. `start` may follow it."""


@runtime_checkable
class Replaceable(Input, Protocol):
    """An input that notices when what it reads was replaced, and then reads it from the start."""

    def missing(self, document_ids: Sequence[str], stop: threading.Event) -> set[str]:
        """Return those of the documents that the source has never had; deletions come as changes.

        Raises SourceError when the source does not tell now.
        """

    def settled(self) -> None:
        """What the source does not have is a tombstone: `reread` is over."""


Filter = Callable[[Event], Sequence[Event]]
"""One event in, the events that take its place out: itself, none (dropped) or several."""


class Output(Protocol):
    """Where events go to."""

    def write(self, batch: Batch, stop: threading.Event) -> bool:
        """Deliver the batch, trying again for as long as that can help.

        Only a PositionKeeper is given `rejected` and `position`.

        True when everything is safe at the destination (a row, a tombstone, a dead letter);
        False when `stop` was set before that. Raises Superseded when another writer has taken
        over, DeliveryError for what neither waiting nor an operator at the other end can mend.
        """

    def close(self) -> None:
        """Let go of connections; may be called twice."""


@runtime_checkable
class PositionKeeper(Output, Protocol):
    """An output whose destination keeps the position with the data, in the same transaction."""

    def prepare(self, batch: Batch) -> Batch:
        """Do what needs no destination, and return what `write` is to be given.

        Called while another thread is in `write` with the batch before.
        """

    def claim(self, source: str, stop: threading.Event) -> Position | None:
        """Become the one writer of `source` and return the position kept there, None if new.

        After this, writes of any earlier writer are refused.
        """

    def report(self, problem: str, stop: threading.Event) -> None:
        """Keep with the position why nothing is read, until the next write; a sign of life too.

        Raises Superseded when the position was changed since, by another writer or by an operator.
        """

    def stored_after(self, document_id: str, stop: threading.Event) -> Sequence[StoredDocument]:
        """Return the next documents of the claimed source in the order of their ids; none at the end."""

    def bury(self, documents: Sequence[StoredDocument], stop: threading.Event) -> bool:
        """Make tombstones of them; False when `stop` was set before that."""

    def is_released(self, stop: threading.Event) -> bool:
        """Whether the writer that has taken over has ended, or shows no sign of life any more.

        For those that stand by, who ask every second.
        """

    def fall_silent(self) -> None:
        """Give no sign of life any more to those that stand by, until the next claim."""
