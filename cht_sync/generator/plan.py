"""What a run writes, as a pure function of its options: the exact sequence of changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from random import Random

from cht_sync.errors import SettingsError
from cht_sync.generator import names
from cht_sync.generator.hierarchy import PLACES, Role, locate, person_document, place_document
from cht_sync.generator.origin import DEFAULT_BASE_DATE, MILLISECONDS_PER_DAY, Document, Origin
from cht_sync.generator.reports import report_document


@dataclass(frozen=True)
class GeneratorOptions:
    """How much is written, and how it is mixed.

    `docs` is the number of documents that a burst creates; it then edits the share `updates` of
    them and deletes the share `deletes` (never the same document). In steady mode the two are
    shares of all changes, and `rate` is the number of changes per second. `batch_size` is the
    number of documents in one request. Raises SettingsError, one line per problem.
    """

    docs: int = 0
    rate: float | None = None
    seed: int = 1
    updates: float = 0.1
    deletes: float = 0.02
    batch_size: int = 500
    base_date: date = DEFAULT_BASE_DATE

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
        return Origin(self.seed, self.base_date)


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


def plan(options: GeneratorOptions) -> Iterator[Change]:
    """Yield all changes of a burst in the order in which they are written.

    First every document is created, parents before children, then the chosen ones are edited, then
    others are deleted. Places and their contact persons are never deleted, so fewer than asked for
    are deleted where there are not enough others.
    """
    origin = options.origin
    for index in range(options.docs):
        yield Change(Kind.CREATE, document(origin, index))
    updated, deleted = _chosen(options)
    for index in updated:
        yield Change(Kind.UPDATE, edited(document(origin, index), origin.random("edit", index)))
    for index in deleted:
        yield Change(Kind.DELETE, tombstone(origin.document_id(index)))


def document(origin: Origin, index: int) -> Document:
    """Return the document of an index as it is first written."""
    spot = locate(index)
    if spot.role in PLACES:
        return place_document(origin, spot)
    if spot.role is Role.REPORT:
        return report_document(origin, spot)
    return person_document(origin, spot)


def edited(before: Document, source: Random) -> Document:
    """Return a changed copy: a report is verified, a person gets another phone, a place is noted on."""
    if before["type"] == "data_record":
        verified_after = source.randrange(1, 10) * MILLISECONDS_PER_DAY
        return before | {
            "verified": source.random() < 0.8,
            "verified_date": before["reported_date"] + verified_after,
        }
    if before["type"] == "person":
        return before | {"phone": names.phone(source), "notes": f"Visited {source.randrange(1, 20)} times"}
    return before | {"notes": f"{source.randrange(3, 400)} people counted"}


def tombstone(document_id: str) -> Document:
    """Return what deletes a document."""
    return {"_id": document_id, "_deleted": True}


def _chosen(options: GeneratorOptions) -> tuple[list[int], list[int]]:
    """Return the indexes to edit and those to delete; no index is in both."""
    source = options.origin.random("chosen", options.docs)
    deletable = [index for index in range(options.docs) if locate(index).is_deletable]
    deleted = source.sample(deletable, min(len(deletable), round(options.docs * options.deletes)))
    taken = frozenset(deleted)
    others = [index for index in range(options.docs) if index not in taken]
    return source.sample(others, min(len(others), round(options.docs * options.updates))), deleted
