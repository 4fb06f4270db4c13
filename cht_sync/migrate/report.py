"""What `plan`, `run` and `check` say: lines for people, JSON for programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cht_sync.migrate.check import Check
from cht_sync.migrate.kinds import Compared, Kind
from cht_sync.migrate.moves import Moves
from cht_sync.migrate.old import PROGRESS
from cht_sync.migrate.plan import Apart, Cost, Plan, Step, gone_line
from cht_sync.migrate.run import Taken
from cht_sync.migrate.sequence import shown as shown_sequence
from cht_sync.migrate.view_finding import ViewFinding
from cht_sync.reconcile.report import named, several

MEANING = {
    Kind.SAME: "the same",
    Kind.MOVED_ON: "newer in CouchDB",
    Kind.AWAITED: "still to be brought by their pipeline",
    Kind.DELETED: "deleted since",
    Kind.UNKNOWN: "unknown to CouchDB: purged, or of a database that is not synced",
    Kind.EDITED: "changed in the old table by hand",
    Kind.CHANGED: "of the same revision with another content, which is not CouchDB's",
    Kind.STALE: "of another revision here than in CouchDB",
    Kind.MISSING: "missing here",
}
LACKING = 0.02
"""The share of documents that old tables must lack before it is said: their rows are not all counted."""
LOOK_SECONDS = 26e-6
"""Seconds that a change takes when the list of changes is compared (docs/scaling.md: 2 cores)."""


def plan_as_lines(plan: Plan, command: str) -> Iterator[str]:
    """The plan; `command` is how to run it."""
    old = plan.moves.old
    yield f"{old.program} in schema {old.schema}; nothing of it is changed"
    relation = None
    for step in plan.steps:
        table = step.move.table
        if table.relation != relation:
            relation = table.relation
            cost = plan.costs[relation]
            yield ""
            yield f"{relation}: about {several(cost.rows, 'row')}, {size(table.bytes)}"
        yield from _step_lines(step)
    yield from unmoved(plan.moves, plan.apart)
    for database, gone in plan.apart.broken:
        yield gone_line(database, gone)
    yield ""
    if not _open(plan):
        done = "All of it is done" if not plan.apart.broken else "Nothing else is left to be moved"
        yield f"{done}. Compare: cht-sync migrate check"
        return
    yield from _cost_lines(plan)
    if plan.in_the_way:
        yield (
            f"Before it: {old.program} has the schema {old.schema}, which POSTGRES_SCHEMA names too. Give "
            "POSTGRES_SCHEMA another name, such as cht_sync; docs/migrating.md says how dashboards go on."
        )
        return
    if not plan.prepared:
        yield "Before it: cht-sync init-db makes the tables, or brings them up to date."
    yield f"To do it: {command}"


def _open(plan: Plan) -> list[Step]:
    """What is still to be done."""
    return [step for step in plan.steps if step.synced is None and not step.done]


def unmoved(moves: Moves, apart: Apart) -> Iterator[str]:
    """What stays where it is, and what has nothing to be moved."""
    for relation, reason in moves.left:
        yield f"{relation}: left: {reason}"
    half = {database for database, _relation in apart.broken}
    for database in moves.absent:
        if database in apart.moved:
            yield f"{database}: was moved already"
        elif database in moves.unnamed:
            named = f"{moves.old.schema}.{PROGRESS} does not name it"
            yield f"{database}: {named}, so its pipeline reads it from CouchDB"
        elif database not in half:
            yield f"{database}: no rows of {moves.old.program}; its pipeline reads it from CouchDB"


def _step_lines(step: Step) -> Iterator[str]:
    database = step.move.database
    if step.taken is not None and step.done:
        yield f"  {database}: done, {several(step.taken.moved.moved, 'row')} moved"
        return
    if step.synced is not None:
        yield f"  {database}: left: {step.synced}"
        return
    filtered = ", through the pipeline's filters, which redact them" if step.move.filtered else ""
    has = several(step.documents, "document")
    yield f"  {database}: the rows whose revision CouchDB has in it{filtered}; CouchDB has {has}"
    judgement = step.judgement
    if judgement.sequence is not None:
        behind = (
            "" if judgement.pending is None else f", with {several(judgement.pending, 'change')} behind it"
        )
        yield f"    sequence {shown_sequence(judgement.sequence)} is kept{behind}"
    else:
        yield f"    no sequence is kept: {judgement.reason}"
        yield "    so all revisions are compared with CouchDB's, and what differs is read from there"


def _cost_lines(plan: Plan) -> Iterator[str]:
    steps = _open(plan)
    relations = {step.move.table.relation for step in steps}
    moving = sum(plan.costs[step.move.table.relation].seconds for step in steps)
    asking = sum(step.asking for step in steps)
    look = sum(step.documents for step in steps) * LOOK_SECONDS
    needed = sum(plan.costs[relation].bytes for relation in relations)
    more = sum(step.documents for step in steps) - sum(plan.costs[relation].rows for relation in relations)
    yield (
        f"Time: about {duration(moving + asking)} for the rows, going by some of them, {duration(asking)} of "
        f"it for asking CouchDB whose they are; then {duration(look)} or more to compare all revisions"
    )
    if more > LACKING * sum(step.documents for step in steps):
        yield f"About {several(more, 'document')} or more must be read from CouchDB: the old tables lack them"
    yield f"Disk: about {size(needed)} more in PostgreSQL, and as much again of write-ahead log meanwhile"


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """The shape of `plan --json`. Bytes, seconds."""
    return {
        "program": plan.moves.old.program.value,
        "schema": plan.moves.old.schema,
        "prepared": plan.prepared,
        "tables": [_table(relation, cost) for relation, cost in plan.costs.items()],
        "databases": [_database(step) for step in plan.steps],
        "left": [{"relation": relation, "reason": reason} for relation, reason in plan.moves.left],
        "absent": list(plan.moves.absent),
        "broken": [{"name": database, "relation": relation} for database, relation in plan.apart.broken],
    }


def _table(relation: str, cost: Cost) -> dict[str, Any]:
    return {"relation": relation, "rows": cost.rows, "seconds": round(cost.seconds, 1), "bytes": cost.bytes}


def _database(step: Step) -> dict[str, Any]:
    return {
        "name": step.move.database,
        "relation": step.move.table.relation,
        "documents": step.documents,
        "sequence_kept": step.judgement.sequence is not None,
        "pending": step.judgement.pending,
        "reason": step.judgement.reason,
        "done": step.done,
        "synced": step.synced,
    }


def run_line(database: str, taken: Taken) -> str:
    """What became of one database."""
    moved, looked = taken.moved, taken.looked_through
    if looked is None or not looked.ended:
        return f"{database}: {several(moved.moved, 'row')} moved so far"
    there = moved.read - moved.moved
    already = f" ({there:,} more were there already)" if there else ""
    kept = f"goes on from {shown_sequence(moved.sequence)}" if moved.sequence else "goes on from now"
    return (
        f"{database}: {several(moved.moved, 'row')} moved{already}, {looked.added:,} more read from CouchDB "
        f"(deletions, and what the old table lacks); its pipeline {kept}"
    )


def check_as_lines(check: Check) -> Iterator[str]:
    """A line for each old table, and one for each kind of difference, with examples; then the views."""
    gone = dict(check.broken)
    for database in check.unfinished:
        yield (
            gone_line(database, gone[database])
            if database in gone
            else f"{database}: not taken over yet: cht-sync migrate run"
        )
    for one in check.tables:
        yield f"{one.relation} and {', '.join(one.databases)}: {_found(one)}"
        if not one.contents:
            yield "  only revisions were compared, since documents are redacted here"
        for kind, ids in one.examples.items():
            if ids and one.counts[kind]:
                yield f"  {MEANING[kind]}: {named(ids, one.counts[kind])}"
    if not check.unfinished and not all(one.same for one in check.tables):
        yield "To bring what is missing or changed to what CouchDB holds: cht-sync resync DATABASE"
    yield from _views(check)


def _views(check: Check) -> Iterator[str]:
    findings = check.views.findings
    if check.views.note is not None:
        yield f"views: {check.views.note}"
    for view in findings:
        yield f"{view.name}: {_view(view)}"
    differing = [view for view in findings if view.differs]
    for excuse in dict.fromkeys(excuse for view in differing for excuse in check.excuses(view)):
        yield f"{excuse}, so views may differ."
    faults = [view.name for view in findings if check.is_fault(view)]
    if faults:
        yield f"Not as they must be: {named(faults, len(faults))}"
    left = [view for view in findings if view.rows_old is None]
    if left:
        wrong = sum(view.fault for view in left)
        counted = f"{several(len(left), 'view')} not compared"
        yield f"{counted}, {wrong:,} of them not as they must be" if wrong else counted


def _view(view: ViewFinding) -> str:
    if view.rows_old is None or view.rows_new is None:
        return f"not compared: {view.note}"
    rows = several(view.rows_old, "row")
    note = f" ({view.note})" if view.note else ""
    if view.same:
        return f"{rows}, the same{note}"
    only = f"{view.only_old:,} only there, {view.only_new:,} only here"
    return f"{rows} there, {view.rows_new:,} here: {only}{note}"


def _found(one: Compared) -> str:
    parts = [
        f"{one.counts[kind]:,} {re.split('[:,]', MEANING[kind])[0]}" for kind in Kind if one.counts[kind]
    ]
    if one.ours_alone:
        parts.append(f"{one.ours_alone:,} here alone")
    if one.no_documents:
        parts.append(f"{several(one.no_documents, 'row')} there without a document")
    if one.elsewhere:
        parts.append(f"{several(one.elsewhere, 'row')} there of other servers")
    if one.duplicates:
        parts.append(f"{several(one.duplicates, 'row')} there of documents that it has twice")
    return ", ".join(parts) or "no documents"


def check_as_json(check: Check) -> dict[str, Any]:
    """The shape of `check --json`."""
    return {
        "same": check.same,
        "tables": [
            {
                "relation": one.relation,
                "databases": list(one.databases),
                "same": one.same,
                "contents_compared": one.contents,
                "counts": {kind.value: one.counts[kind] for kind in Kind}
                | {
                    "here_alone": one.ours_alone,
                    "no_documents": one.no_documents,
                    "elsewhere": one.elsewhere,
                    "duplicates": one.duplicates,
                },
                "examples": {
                    kind.value: one.examples.get(kind, []) for kind in Kind if kind is not Kind.SAME
                },
            }
            for one in check.tables
        ],
        "views": [
            {
                "name": view.name,
                "rows_old": view.rows_old,
                "rows_new": view.rows_new,
                "only_old": view.only_old,
                "only_new": view.only_new,
                "note": view.note,
                "same": view.same,
                "fault": check.is_fault(view),
            }
            for view in check.views.findings
        ],
        "views_note": check.views.note,
        "unfinished": list(check.unfinished),
    }


def size(count: int) -> str:
    """Bytes as people read them."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if seconds < 60:
        return f"{max(round(seconds), 1)} s"
    minutes, hours = round(seconds / 60), seconds / 3600
    return f"{minutes} min" if minutes < 120 else f"{hours:.0f} h"
