"""What the commands of `forms` print: tables and lines for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cht_sync.reconcile.report import shown
from cht_sync.transform.forms.proposal import Proposal
from cht_sync.transform.forms.reading import Seen
from cht_sync.transform.forms.writing import Written

WIDTH_OF_A_FILE = 160


def print_forms(seen: Seen, models: Mapping[str, str] | None) -> None:
    """Print the forms that were seen; `models` maps forms to models, None where that is not known."""
    known = models or {}
    rows = [
        (one.form, f"{one.reports:,}", _day(one.first), _day(one.last), known.get(one.form, ""))
        for one in seen.forms
    ]
    if rows:
        _print_table(("form", "reports", "first", "last", "model"), rows, right=("reports",))
    else:
        click.echo("No reports.")
    click.echo(
        f"Looked at {'all' if seen.whole else 'the newest'} {seen.documents:,} documents."
        + ("" if seen.whole else " For more: --sample")
    )
    if models is None:
        click.echo("Which forms have models is not known: the package in use is not a folder.")


def print_forms_json(seen: Seen, models: Mapping[str, str] | None) -> None:
    """Print the same as JSON."""
    known = models or {}
    found = [{**asdict(one), "model": known.get(one.form)} for one in seen.forms]
    _print_json({"documents": seen.documents, "whole": seen.whole, "forms": found})


def print_proposal(proposal: Proposal, *, examples: bool) -> None:
    """Print the columns, the groups, and what is left out."""
    headings = ("column", "path", "type", "empty", "note", *(("examples",) if examples else ()))
    rows = [
        (
            column.name,
            ".".join(column.path),
            column.data_type,
            f"{column.null_share:.0%}",
            column.note,
            *((", ".join(column.examples),) if examples else ()),
        )
        for column in proposal.columns
    ]
    _print_table(headings, rows, right=("empty",))
    for group in proposal.groups:
        click.echo(f"group     {_path(('fields', *group))}")
    for one in proposal.left_out:
        click.echo(f"left out  {_path(one.path)}: {one.reason}")
    for note in proposal.notes:
        click.echo(note)
    click.echo(f"Looked at {proposal.reports:,} reports, the newest. To make its model: cht-sync forms write")


def print_proposal_json(proposal: Proposal, *, examples: bool) -> None:
    """Print the same as JSON."""
    columns = [
        {
            "name": column.name,
            "path": list(column.path),
            "type": column.data_type,
            "values": column.values,
            "fits": column.fits,
            "null_share": column.null_share,
            "note": column.note,
            **({"examples": list(column.examples)} if examples else {}),
        }
        for column in proposal.columns
    ]
    _print_json(
        {
            "form": proposal.form,
            "reports": proposal.reports,
            "columns": columns,
            "groups": [["fields", *group] for group in proposal.groups],
            "left_out": [{"path": list(one.path), "reason": one.reason} for one in proposal.left_out],
            "notes": list(proposal.notes),
        }
    )


def print_written(proposal: Proposal, written: Written, *, in_use: bool) -> None:
    """Say which files were written, and what happens next; `in_use`: the loop runs the models there."""
    for file in written.files:
        click.echo(f"wrote {file}")
    next_step = (
        f"the running loop makes the table {written.model}"
        if in_use
        else "the table is made once they are in the package that is run"
    )
    click.echo(f"{len(proposal.columns)} columns. Look them through; {next_step}.")


def print_written_json(proposal: Proposal, written: Written) -> None:
    """Print the form, its model and the files as JSON."""
    files = [str(file) for file in written.files]
    _print_json({"form": proposal.form, "model": written.model, "files": files})


def _print_json(answer: dict[str, Any]) -> None:
    click.echo(json.dumps(answer, default=datetime.isoformat, ensure_ascii=False))


def _print_table(headings: Sequence[str], rows: Sequence[tuple[str, ...]], *, right: Sequence[str]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(
            heading,
            justify="right" if heading in right else "left",
            overflow="fold",
            no_wrap=heading in right,
        )
    for row in rows:
        table.add_row(*(Text(shown(text)) for text in row))
    Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE).print(table)


def _path(path: tuple[str, ...]) -> str:
    return shown(".".join(path))


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d}"
