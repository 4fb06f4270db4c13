"""What one side holds of a document, and how two sides can differ."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(NamedTuple):
    """A revision, and whether it is a deletion. A document that a side does not know has none."""

    rev: str | None
    deleted: bool


class Kind(StrEnum):
    """What is to be said of a row that is not its document."""

    MISSING = "missing"
    """CouchDB has the document, or its deletion; there is no row."""
    STALE = "stale"
    """The row has another revision or deletion mark."""
    EXTRA = "extra"
    """The row is alive, and CouchDB does not know the document: purged, or of a replaced database."""
    DEAD_LETTERED = "dead_lettered"
    """The current revision is an open dead letter."""
    DROPPED = "dropped"
    """An operator has dropped the dead letter of the current revision: it need not be stored."""

    @property
    def is_difference(self) -> bool:
        """Whether it keeps both sides from being the same; the operator's word counts."""
        return self is not Kind.DROPPED


def differ(couch: State | None, row: State | None) -> bool:
    """Whether a row is not what CouchDB holds. The tombstone of a document that is unknown there is right."""
    if couch is None:
        return row is not None and not row.deleted
    return couch != row
