"""The model that is proposed for a form."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cht_sync.transform.forms.fields import Field, Findings, Path
from cht_sync.transform.forms.names import column_names

TECHNICAL = ("inputs", "meta")
"""Groups that the form's engine fills: where it was opened from, and the instance's id."""
COVERED = (("patient_id",), ("patient_uuid",))
"""Fields that every form's table has as columns anyway."""
MOST_COLUMNS = 400
"""A row of PostgreSQL has room for so many, whatever is in them."""


@dataclass(frozen=True)
class Column:
    """A column; `path` are keys in the document.

    All of its `values` fit its type; `fits` has the shares of other types, for those that nearly do.
    """

    name: str
    path: Path
    data_type: str
    values: int
    fits: dict[str, float]
    null_share: float
    examples: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class LeftOut:
    """A path without a column, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Proposal:
    """A form's columns in the order of its reports; `groups` are the paths of nested groups."""

    form: str
    reports: int
    columns: tuple[Column, ...]
    left_out: tuple[LeftOut, ...]
    groups: tuple[Path, ...]
    notes: tuple[str, ...]


def propose(
    form: str, findings: Findings, reserved: Collection[str], *, everything: bool = False
) -> Proposal:
    """Propose a column for each path that was found; with `everything`, also for technical ones."""
    left_out: list[LeftOut] = []
    wanted: list[Field] = []
    for one in findings.found():
        if one.path in COVERED and one.arrays == one.groups == 0:
            left_out.append(LeftOut(("fields", *one.path), f"is the column {one.path[0]} of every form"))
        elif one.path[0] in TECHNICAL and not everything:
            left_out.append(LeftOut(("fields", *one.path), "technical; --all takes it"))
        else:
            wanted.append(one)
    if len(wanted) > MOST_COLUMNS:
        kept = {one.path for one in sorted(wanted, key=lambda one: -one.values)[:MOST_COLUMNS]}
        left_out += [
            LeftOut(("fields", *one.path), f"a table holds {MOST_COLUMNS} columns; this one has fewer values")
            for one in wanted
            if one.path not in kept
        ]
        wanted = [one for one in wanted if one.path in kept]
    names = column_names([one.path for one in wanted], reserved)
    columns = (_column(name, one, findings.reports) for name, one in zip(names, wanted, strict=True))
    return Proposal(
        form, findings.reports, tuple(columns), tuple(left_out), tuple(findings.groups()), _notes(findings)
    )


def _column(name: str, found: Field, reports: int) -> Column:
    data_type = found.data_type()
    return Column(
        name,
        ("fields", *found.path),
        data_type,
        found.values,
        found.fits(),
        1 - found.values / reports if reports else 1.0,
        tuple(found.examples),
        _note(found, data_type),
    )


def _note(found: Field, data_type: str) -> str:
    if not found.values:
        return "always empty"
    if data_type == "jsonb":
        parts = [
            (found.arrays, "a repeat (array)"),
            (found.groups, "a group"),
            (found.texts, "a single value"),
        ]
        sorts = [what for count, what in parts if count]
        return sorts[0] if len(sorts) == 1 else " or ".join(sorts) + ", by report"
    if data_type == "text" and (fits := found.fits()):
        kind = max(fits, key=lambda one: fits[one])
        return f"{fits[kind]:.1%} would be {kind}"
    return ""


def _notes(findings: Findings) -> tuple[str, ...]:
    notes = []
    if findings.unreadable:
        notes.append(
            f"{findings.unreadable} reports hold no group of fields, or one that is nested too deeply."
        )
    if findings.unnamed:
        notes.append(f"{findings.unnamed} values were under still more names, and were not looked at.")
    return tuple(notes)
