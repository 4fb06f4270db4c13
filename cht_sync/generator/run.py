"""Burst mode: write a planned number of documents as fast as the server takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

from cht_sync.generator.contents import content_of
from cht_sync.generator.couchdb import Client, State
from cht_sync.generator.origin import Document
from cht_sync.generator.plan import Change, GeneratorOptions, Kind, plan


@dataclass(frozen=True)
class Summary:
    """Counts of changes: what was written, and what was skipped since it had happened already."""

    created: int = 0
    updated: int = 0
    deleted: int = 0
    skipped: int = 0

    def __add__(self, other: Summary) -> Summary:
        return Summary(
            self.created + other.created,
            self.updated + other.updated,
            self.deleted + other.deleted,
            self.skipped + other.skipped,
        )

    @classmethod
    def of(cls, kind: Kind, written: int, skipped: int) -> Summary:
        """Count changes of one kind."""
        return cls(
            created=written if kind is Kind.CREATE else 0,
            updated=written if kind is Kind.UPDATE else 0,
            deleted=written if kind is Kind.DELETE else 0,
            skipped=skipped,
        )


def burst(
    client: Client, database: str, options: GeneratorOptions, progress: Callable[[int], None]
) -> Summary:
    """Write the plan of `options` for what belongs into that database.

    `progress` gets the number of changes done after each request. This may be repeated, also after a
    crash halfway: a document that exists, or existed and was deleted, is not created again, and only a
    document that nobody has edited yet is edited. Raises what Client raises.
    """
    total = Summary()
    for kind, changes in _batches(plan(options, content_of(database)), options.batch_size):
        total += _write(client, database, kind, changes)
        progress(len(changes))
    return total


def _batches(changes: Iterable[Change], size: int) -> Iterator[tuple[Kind, list[Change]]]:
    for kind, group in groupby(changes, key=lambda change: change.kind):
        while batch := list(islice(group, size)):
            yield kind, batch


def _write(client: Client, database: str, kind: Kind, changes: Sequence[Change]) -> Summary:
    states = client.states(database, [change.document_id for change in changes])
    ready = (_ready(change, states.get(change.document_id)) for change in changes)
    written = client.write(database, [document for document in ready if document is not None])
    return Summary.of(kind, len(written), len(changes) - len(written))


def _ready(change: Change, state: State | None) -> Document | None:
    """Return what to send for a change, None where it has happened or can no longer happen."""
    if change.kind is Kind.CREATE:
        return change.document if state is None else None
    if state is None or state.deleted:
        return None
    if change.kind is Kind.UPDATE and state.generation > 1:
        return None
    return change.document | {"_rev": state.revision}
