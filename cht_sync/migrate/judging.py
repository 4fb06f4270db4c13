"""What CouchDB says of old documents that our tables have otherwise, or not at all.

The order is what makes the answers right. The position that a pipeline has stored is read before the rows
are: what it brings meanwhile is among the changes after that position, and counts as awaited. CouchDB is
asked for those changes after it was asked for the documents' states.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection

from cht_sync.load.changed import Changed
from cht_sync.load.ledger import Ledger
from cht_sync.migrate.kinds import Kind
from cht_sync.migrate.run import how_far
from cht_sync.reconcile.contents import those_as_made
from cht_sync.reconcile.couch import Couch
from cht_sync.reconcile.row import RowMaker
from cht_sync.reconcile.state import State
from cht_sync.reconcile.table import Table
from cht_sync.settings import Settings

ASKED_AT_ONCE = 1_000
"""Documents whose states CouchDB is asked for at once."""
CONTENTS_AT_ONCE = 100
"""Documents that CouchDB is asked for at once."""


@dataclass(frozen=True)
class Side:
    """A database of ours whose rows an old table may hold.

    `sources`: what the column `source` says of its rows there; empty where there is no such column. `moved`:
    its rows are taken over from there; those of others their pipelines read.
    """

    database: str
    sources: tuple[str, ...]
    filtered: bool
    moved: bool


class Judge:
    """Asks CouchDB about the documents of one old table. To be made before the rows are read.

    `connection` is of its own, in autocommit. Every method raises SourceError and psycopg2.Error.
    """

    def __init__(self, settings: Settings, connection: Connection, sides: Sequence[Side]) -> None:
        self._ones = [_One(settings, connection, side) for side in sides]

    def close(self) -> None:
        """Let go of the connections to CouchDB."""
        for one in self._ones:
            one.couch.close()

    def judged(self, found: Sequence[tuple[Kind, str, State]]) -> Iterator[tuple[Kind, str]]:
        """Yield each document that is not the same here with the kind that it is, going by CouchDB, too.

        `found` are, for each, what our tables alone make it, its id, and its state in the old table.
        """
        ids = list({document_id for _kind, document_id, _state in found})
        for one in self._ones:
            one.ask(ids)
        changed = [(one_id, state) for kind, one_id, state in found if kind is Kind.CHANGED]
        as_made = {one_id for one in self._ones for one_id in one.as_made(changed)}
        for kind, document_id, state in found:
            if kind is Kind.CHANGED:
                yield self._of_other_content(document_id, state, as_made), document_id
            else:
                yield self._of_other_state(kind, document_id, state), document_id

    def _of_other_state(self, kind: Kind, document_id: str, state: State) -> Kind:
        """The kind of a document that we have otherwise, or not at all."""
        knowing = [one for one in self._ones if document_id in one.states]
        having = [one for one in knowing if one.states[document_id] == state]
        if having:
            if any(one.awaits(document_id) for one in having):
                return Kind.AWAITED
            return Kind.MISSING if kind is Kind.MISSING else Kind.STALE
        if kind is not Kind.MISSING:
            return kind
        if not knowing:
            return Kind.UNKNOWN
        alive = [one for one in knowing if not one.states[document_id].deleted]
        return Kind.MISSING if alive and not self._awaits(document_id) else Kind.MOVED_ON

    def _of_other_content(self, document_id: str, state: State, as_made: Collection[str]) -> Kind:
        """The kind of a document that we have in the same revision."""
        if document_id in as_made:
            return Kind.EDITED
        known = [one.states[document_id] for one in self._ones if document_id in one.states]
        moved_on = known and all(one.rev != state.rev for one in known)
        return Kind.MOVED_ON if moved_on and self._awaits(document_id) else Kind.CHANGED

    def _awaits(self, document_id: str) -> bool:
        return any(one.awaits(document_id) for one in self._ones if document_id in one.states)


class _One:
    """One database: what CouchDB holds of the documents that were asked about last, and what is awaited."""

    def __init__(self, settings: Settings, connection: Connection, side: Side) -> None:
        self.couch = Couch(settings, side.database, threading.Event())
        self.states: Mapping[str, State] = {}
        self._settings = settings
        self._database = side.database
        self._table = Table(
            connection, settings.postgres_schema, side.database, settings.source(side.database)
        )
        self._changed: Changed | None = None
        self._ids: Set[str] = frozenset()
        self._has_looked = False
        self._maker: RowMaker | None = None
        self._awaits_all = _awaits_all(self._table, side)
        if not self._awaits_all and self._table.reading().sequence is not None:
            self._changed = Changed(self.couch, self._table)
            self._changed.begin()

    def ask(self, ids: Sequence[str]) -> None:
        self.states = self.couch.states(ids)
        self._has_looked = False

    def awaits(self, document_id: str) -> bool:
        """Whether the pipeline has still to bring it."""
        if self._awaits_all or self._changed is None:
            return self._awaits_all
        if not self._has_looked:
            self._ids = self._changed.look()
            self._has_looked = True
        return document_id in self._ids

    def as_made(self, found: Sequence[tuple[str, State]]) -> Iterator[str]:
        """Yield those that CouchDB has in this revision, and whose row is what the pipeline makes of them."""
        wanted = [one for one, state in found if one in self.states and self.states[one].rev == state.rev]
        for start in range(0, len(wanted), CONTENTS_AT_ONCE):
            part = {one: self.states[one] for one in wanted[start : start + CONTENTS_AT_ONCE]}
            if self._maker is None:
                self._maker = RowMaker(self._settings, self._database)
            yield from those_as_made(self.couch.contents(part), self._table, self._maker)


def _awaits_all(table: Table, side: Side) -> bool:
    """Whether nothing is known to be there yet: a load, or the pipeline's first reading, is under way."""
    if how_far(table) is not None:
        return False
    agreed = Ledger(table).agreement()
    if agreed is not None:
        return not agreed.ended
    return not side.moved and not table.caught_up()
