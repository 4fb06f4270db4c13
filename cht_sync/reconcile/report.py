"""What `verify` says: as JSON for programs, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cht_sync.reconcile.databases import Result
from cht_sync.reconcile.state import Kind
from cht_sync.reconcile.verify import Finding
from cht_sync.reconcile.writing import Outcome

EXAMPLES = 10
LONGEST = 80
"""Characters of an id that are shown."""
MEANING = {
    Kind.MISSING: "missing",
    Kind.STALE: "of another revision",
    Kind.EXTRA: "unknown to CouchDB",
    Kind.DEAD_LETTERED: "dead letters",
    Kind.DROPPED: "dropped by an operator",
}


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """The shape of `verify --json`. Lists may be shorter than `counts` says."""
    return {
        "same": all(one.finding.same for one in results),
        "databases": [_database(one) for one in results],
    }


def as_lines(result: Result) -> Iterator[str]:
    """One line for a database, and one for each kind of difference with examples."""
    finding = result.finding
    if finding.compared:
        size = f"{several(finding.documents, 'document')}, {several(finding.deletions, 'deletion')}"
        yield f"{finding.name}: {_found(finding)} ({size})"
    else:
        yield f"{finding.name}: not compared"
    if finding.problem:
        yield f"  {finding.problem}"
    for kind, ids in finding.examples.items():
        if ids:
            yield f"  {MEANING[kind]}: {named(ids, finding.counts[kind])}"
    if result.repaired:
        done = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(result.repaired.items()))
        yield f"  repaired: {done}"


def advice(results: Sequence[Result], *, repair: bool) -> Iterator[str]:
    """What to do next."""
    findings = [one.finding for one in results]
    if all(finding.same for finding in findings):
        return
    if any(finding.in_flight for finding in findings):
        yield "Changes are on their way: run this again when `cht-sync status` shows nothing pending."
    kinds = {kind for finding in findings for kind, count in finding.counts.items() if count}
    if kinds - {Kind.DEAD_LETTERED, Kind.DROPPED} and not repair:
        yield "To bring these rows to what CouchDB holds: cht-sync verify --repair"
    if Kind.DEAD_LETTERED in kinds:
        yield "Why a document is a dead letter: cht-sync dead-letters list"


def named(ids: Sequence[str], count: int) -> str:
    """The first of so many ids as a terminal may be given them."""
    more = count - len(ids[:EXAMPLES])
    return ", ".join(map(shown, ids[:EXAMPLES])) + (f" and {more:,} more" if more else "")


def shown(text: str) -> str:
    """A text from elsewhere as a terminal may be given it."""
    cut = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in cut)


def _found(finding: Finding) -> str:
    parts = [_counted(kind, count) for kind, count in finding.counts.items() if count]
    if finding.in_flight:
        parts.append(f"{finding.in_flight:,} on their way")
    if finding.same:
        return " but for ".join(["same", *parts])
    return ", ".join(parts)


def _counted(kind: Kind, count: int) -> str:
    return several(count, "dead letter") if kind is Kind.DEAD_LETTERED else f"{count:,} {MEANING[kind]}"


def several(count: int, noun: str) -> str:
    """A number and its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _database(result: Result) -> dict[str, Any]:
    finding = result.finding
    answer: dict[str, Any] = {
        "name": finding.name,
        "same": finding.same,
        "compared": finding.compared,
        "problem": finding.problem,
        "documents": finding.documents,
        "deletions": finding.deletions,
        "rows": finding.rows,
        "tombstones": finding.tombstones,
        **{kind.value: finding.examples[kind] for kind in Kind},
        "counts": {kind.value: finding.counts[kind] for kind in Kind},
        "in_flight": finding.in_flight,
    }
    if result.repaired:
        answer["repaired"] = {outcome.name.lower(): result.repaired[outcome] for outcome in Outcome}
    return answer
