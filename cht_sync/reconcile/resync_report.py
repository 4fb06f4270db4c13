"""What `resync` says: as JSON for programs, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cht_sync.reconcile.report import MEANING, named, several
from cht_sync.reconcile.resync import MOST_NAMED, Resync
from cht_sync.reconcile.state import Kind
from cht_sync.reconcile.writing import Outcome


def as_json(result: Resync) -> dict[str, Any]:
    """The shape of `resync --json`. Lists may be shorter than `counts` says."""
    finding = result.finding
    return {
        "name": result.database,
        "done": result.done,
        "documents": result.looked_at,
        "written": result.written,
        "same": result.same,
        "refused": result.contents.outcomes[Outcome.REFUSED] + result.repaired[Outcome.REFUSED],
        "unknown": result.unknown[:MOST_NAMED],
        "in_flight": finding.in_flight,
        "compared": finding.compared,
        "problem": finding.problem,
        **{kind.value: finding.examples[kind] for kind in Kind},
        "counts": {"unknown": len(result.unknown), **{kind.value: finding.counts[kind] for kind in Kind}},
    }


def as_lines(result: Resync) -> Iterator[str]:
    """One line for the database, and one for each kind of document that is not as CouchDB has it."""
    finding = result.finding
    total = several(result.looked_at, "document")
    yield f"{result.database}: {result.written:,} of {total} written anew, {result.same:,} the same"
    buried = result.extra - finding.counts[Kind.EXTRA]
    if buried > 0:
        yield f"  tombstones now, since CouchDB does not know them: {buried:,}"
    if finding.problem:
        yield f"  {finding.problem}"
    if finding.in_flight:
        yield f"  still to come from the pipeline: {finding.in_flight:,}"
    refused = result.contents.outcomes[Outcome.REFUSED]
    if refused:
        yield f"  refused by PostgreSQL, their rows stay as they were: {refused:,}"
    for kind, ids in finding.examples.items():
        if ids:
            yield f"  {MEANING[kind]}: {named(ids, finding.counts[kind])}"
    if result.unknown:
        yield f"  neither in CouchDB nor in PostgreSQL: {named(result.unknown, len(result.unknown))}"


def advice(result: Resync) -> Iterator[str]:
    """What to do next."""
    finding = result.finding
    if finding.in_flight:
        yield "The pipeline brings what is still to come; see cht-sync status."
    if finding.counts[Kind.DEAD_LETTERED] or result.contents.outcomes[Outcome.REFUSED]:
        yield "Why a document cannot be stored: cht-sync dead-letters list"
    if any(finding.counts[kind] for kind in (Kind.MISSING, Kind.STALE, Kind.EXTRA)):
        yield "Documents changed while they were written, or a filter drops them: run this again."


def interrupted(result: Resync) -> str:
    """How far it was, for whoever has stopped it."""
    return (
        f"{result.database}: interrupted after {result.contents.looked_at:,} of about {result.expected:,} "
        f"documents, {result.written:,} written anew. What was written stays; another run begins at the "
        "start and writes only what differs."
    )
