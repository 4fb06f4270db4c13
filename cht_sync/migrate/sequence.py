"""Whether the sequence at which an earlier program was can be gone on from.

A sequence is opaque and of one database of one server (CouchDB's documentation, "Changes Feeds"). One that
is kept spares nothing that would be right without it: where it is not, what differs is found all the same,
and read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cht_sync.errors import OperatorNeeded
from cht_sync.migrate.old import OldSource
from cht_sync.reconcile.couch import Couch

NOTHING_READ = "0"


@dataclass(frozen=True)
class Judgement:
    """A sequence that is kept, with the changes that wait behind it; or why it is not."""

    sequence: str | None
    pending: int | None
    reason: str | None


def judged(position: OldSource | None, couch: Couch) -> Judgement:
    """Judge the position that an earlier program has left. Raises SourceError where CouchDB is away."""
    sequence = position.sequence if position else None
    if sequence is None:
        return _not_kept("the earlier program has left no sequence in PostgreSQL")
    if (reason := _not_by_itself(sequence) or _not_beside(sequence, couch.sequence())) is not None:
        return _not_kept(reason)
    try:
        return Judgement(sequence, couch.pending(sequence), None)
    except OperatorNeeded:
        return _not_kept(f"CouchDB does not know {shown(sequence)}")


def _not_by_itself(sequence: str) -> str | None:
    if sequence == NOTHING_READ:
        return "the earlier program has read nothing yet"
    if not sequence.strip():
        return "the sequence that the earlier program has left is empty"
    if number(sequence) is None:
        # CouchDB takes "now", and says nothing of what was written before it was asked.
        return f"{shown(sequence)} is no sequence of CouchDB"
    return None


def _not_beside(sequence: str, now: str) -> str | None:
    if ("-" in sequence) != ("-" in now):
        return f"{shown(sequence)} is of another kind of server than {shown(now)}"
    then_number, now_number = number(sequence), number(now)
    if then_number is not None and now_number is not None and then_number > now_number:
        return f"{shown(sequence)} is beyond what this CouchDB has written, {shown(now)}"
    return None


def number(sequence: str) -> int | None:
    """The number with which a sequence begins: how many changes there were, over all shards."""
    found = re.match(r"(\d{1,18})(-|$)", sequence)
    return int(found[1]) if found else None


def shown(sequence: str) -> str:
    """A sequence as people are shown it."""
    return sequence if len(sequence) <= 24 else f"{sequence[:24]}…"


def _not_kept(reason: str) -> Judgement:
    return Judgement(None, None, reason)
