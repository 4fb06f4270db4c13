"""What can have become of a document of an old table, and how many of each kind there are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

EXAMPLES = 1_000
"""Ids that are named of each kind."""


class Kind(StrEnum):
    """What became of a document of an old table."""

    SAME = "same"
    MOVED_ON = "moved_on"
    """Ours is another revision, or will be once the pipeline goes on: CouchDB has another one, too."""
    AWAITED = "awaited"
    """CouchDB has this very revision, we do not, and the pipeline has still to bring it."""
    DELETED = "deleted"
    """Deleted since; ours is a tombstone."""
    UNKNOWN = "unknown"
    """CouchDB does not have it in a database that is synced: purged, or of one that is not."""
    EDITED = "edited"
    """The same revision with another content, and ours is CouchDB's: the old row was changed."""
    CHANGED = "changed"
    """The same revision with another content, and ours is not CouchDB's."""
    STALE = "stale"
    """CouchDB has this very revision, and ours is another one."""
    MISSING = "missing"
    """CouchDB has it, and we have no row."""

    @property
    def is_fault(self) -> bool:
        """Whether something is wrong."""
        return self in (Kind.CHANGED, Kind.STALE, Kind.MISSING)


@dataclass
class Compared:
    """One old table: how many documents of each kind, and the ids of some.

    `ours_alone` are living rows that it lacks; `no_documents` its rows without document, id or revision;
    `elsewhere` its rows of other servers; `duplicates` its rows beyond the first one of a document;
    `replaced` those of the same that hold something that jsonb cannot, for which each side has another text.
    """

    relation: str
    databases: tuple[str, ...]
    contents: bool
    """Whether contents were compared; where documents are redacted, only revisions are."""
    counts: Counter[Kind] = field(default_factory=Counter)
    examples: dict[Kind, list[str]] = field(default_factory=dict)
    ours_alone: int = 0
    no_documents: int = 0
    elsewhere: int = 0
    duplicates: int = 0
    replaced: int = 0

    def enter(self, kind: Kind, document_id: str) -> None:
        """Count one."""
        self.counts[kind] += 1
        named = self.examples.setdefault(kind, [])
        if kind is not Kind.SAME and len(named) < EXAMPLES:
            named.append(document_id)

    @property
    def same(self) -> bool:
        """Whether nothing is wrong."""
        return not any(kind.is_fault for kind in self.counts if self.counts[kind])

    @property
    def differs(self) -> bool:
        """Whether the two sides are known not to have the very same documents."""
        others = any(count for kind, count in self.counts.items() if kind is not Kind.SAME)
        return others or any((self.ours_alone, self.elsewhere, self.duplicates, self.replaced))
