"""What a run writes, as a pure function of its options: the exact sequence of changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from cht_sync.errors import SettingsError
from cht_sync.generator.contact_types import settings_of_cht
from cht_sync.generator.contents import CHT, Content, document
from cht_sync.generator.edits import edited
from cht_sync.generator.origin import DEFAULT_BASE_DATE, Document, Origin

__all__ = ["Change", "GeneratorOptions", "Kind", "document", "edited", "plan", "tombstone"]


@dataclass(frozen=True)
class GeneratorOptions:
    """How much is written, and how it is mixed.

    `docs` is the number of documents of the CHT that a burst creates, and what the other databases hold
    beside them; it then edits the share `updates` of
    them and deletes the share `deletes` (never the same document). In steady mode the two are
    shares of all changes, and `rate` is the number of changes per second. `batch_size` is the
    number of documents in one request. With `configured_types` all contacts are of type "contact", and
    there are settings that define their types. Raises SettingsError, one line per problem.
    """

    docs: int = 0
    rate: float | None = None
    seed: int = 1
    updates: float = 0.1
    deletes: float = 0.02
    batch_size: int = 500
    base_date: date = DEFAULT_BASE_DATE
    configured_types: bool = False

    def __post_init__(self) -> None:
        checks = {
            "docs: must be 0 or more": self.docs >= 0,
            "rate: must be more than 0 changes per second, for example 5": self.rate is None or self.rate > 0,
            "updates and deletes: must be shares from 0 to 1 that add up to 1 at most, for example 0.1": (
                self.updates >= 0 and self.deletes >= 0 and self.updates + self.deletes <= 1
            ),
            "batch_size: must be 1 or more": self.batch_size >= 1,
        }
        problems = [problem for problem, holds in checks.items() if not holds]
        if problems:
            raise SettingsError(problems)

    @property
    def origin(self) -> Origin:
        return Origin(self.seed, self.base_date, self.configured_types)


class Kind(StrEnum):
    """What a change does to its document."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True)
class Change:
    """One change; the document bears no `_rev`, a deletion is `{"_id": ..., "_deleted": true}`."""

    kind: Kind
    document: Document

    @property
    def document_id(self) -> str:
        return str(self.document["_id"])


def plan(options: GeneratorOptions, content: Content = CHT) -> Iterator[Change]:
    """Yield all changes of a burst in the order in which they are written.

    First every document is created, parents before children, then the chosen ones are edited, then
    others are deleted. Places and their contact persons are never deleted, so fewer than asked for
    are deleted where there are not enough others.
    """
    origin = options.origin
    if options.configured_types and content is CHT:
        yield Change(Kind.CREATE, settings_of_cht())
    for index in range(content.count(options.docs)):
        yield Change(Kind.CREATE, content.make(origin, index))
    updated, deleted = _chosen(options, content)
    for index in updated:
        yield Change(Kind.UPDATE, edited(content.make(origin, index), origin.random("edit", index)))
    for index in deleted:
        yield Change(Kind.DELETE, tombstone(content.identify(origin, index)))


def tombstone(document_id: str) -> Document:
    """Return what deletes a document."""
    return {"_id": document_id, "_deleted": True}


def _chosen(options: GeneratorOptions, content: Content) -> tuple[list[int], list[int]]:
    """Return the numbers to edit and those to delete; no number is in both."""
    count = content.count(options.docs)
    source = options.origin.random("chosen", count)
    deletable = [index for index in range(count) if content.deletable(index)]
    deleted = source.sample(deletable, min(len(deletable), round(count * options.deletes)))
    taken = frozenset(deleted)
    others = [index for index in range(count) if index not in taken]
    return source.sample(others, min(len(others), round(count * options.updates))), deleted
