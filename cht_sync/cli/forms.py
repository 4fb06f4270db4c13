"""Forms: which there are, what their reports hold, and a model for each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from psycopg2.extensions import connection as Connection
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cht_sync import logs
from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option, reachable_settings
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.reconcile.interrupt import interruptible_queries
from cht_sync.reconcile.report import shown
from cht_sync.reconcile.table import told_of
from cht_sync.runtime.dbt import OWN_PACKAGE
from cht_sync.settings import Settings
from cht_sync.transform.forms.models import ProjectModels, has_form_macro, local_project, models_of
from cht_sync.transform.forms.proposal import Proposal, propose
from cht_sync.transform.forms.reading import Sample, fields_of, forms_of, relations, reserved_words
from cht_sync.transform.forms.writing import write
from cht_sync.warehouse.connection import dbt_endpoint

WIDTH_OF_A_FILE = 160
NEEDS = ("POSTGRES_HOST", "DBT_POSTGRES_PASSWORD")
Command = TypeVar("Command", bound=Callable[..., None])

json_option = click.option("--json", "machine_readable", is_flag=True, help="Print JSON.")
all_option = click.option(
    "--all", "everything", is_flag=True, help="Also the technical groups: inputs and meta."
)


def sample_options(command: Command) -> Command:
    """Add how much of the documents is looked at."""
    default = Sample()
    command = click.option(
        "--sample",
        "documents",
        type=click.IntRange(min=1),
        default=default.documents,
        show_default=True,
        help="Look at so many of the newest documents.",
    )(command)
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0.001),
        default=default.timeout,
        show_default=True,
        help="Give PostgreSQL so many seconds.",
    )(command)


@main.group(short_help="Make a table of a form's reports.", invoke_without_command=True)
@json_option
@sample_options
@environment_option
@click.pass_context
def forms(
    context: click.Context, machine_readable: bool, documents: int, timeout: float, environment: str
) -> None:
    """List the forms of the newest reports: how many, the first and the last, and whether a model exists."""
    if context.invoked_subcommand is not None:
        given = [
            name
            for name in context.params
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        ]
        if given:
            raise click.UsageError(f"options of forms {context.invoked_subcommand} belong after it")
        return
    logs.configure(level="warning")
    settings = _settings(environment)
    with _connected(settings) as connection:
        seen = forms_of(connection, settings.postgres_schema, Sample(documents, timeout))
    models = _models(settings)
    known = {} if models is None else models.forms
    if machine_readable:
        found = [{**asdict(one), "model": known.get(one.form)} for one in seen.forms]
        answer = {"documents": seen.documents, "whole": seen.whole, "forms": found}
        click.echo(json.dumps(answer, default=datetime.isoformat, ensure_ascii=False))
        return
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


@forms.command("show")
@click.argument("form")
@click.option("--no-examples", is_flag=True, help="Without values of reports, which may be personal data.")
@all_option
@json_option
@sample_options
@environment_option
def show_form(
    form: str,
    no_examples: bool,
    everything: bool,
    machine_readable: bool,
    documents: int,
    timeout: float,
    environment: str,
) -> None:
    """Show the columns that a form's reports suggest.

    Each with its path in the document, the narrowest type that holds all values seen, the share of
    reports in which it is empty, and examples. Repeats become jsonb.
    """
    logs.configure(level="warning")
    proposal = _proposal(_settings(environment), form, Sample(documents, timeout), everything=everything)
    if machine_readable:
        click.echo(json.dumps(_as_json(proposal, examples=not no_examples), ensure_ascii=False))
        return
    headings = ("column", "path", "type", "empty", "note", *(() if no_examples else ("examples",)))
    rows = [
        (
            column.name,
            _path(column.path),
            column.data_type,
            f"{column.null_share:.0%}",
            column.note,
            *(() if no_examples else (", ".join(column.examples),)),
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


@forms.command("write")
@click.argument("form")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files; default: models/forms of the package in use.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@all_option
@json_option
@sample_options
@environment_option
def write_form(
    form: str,
    output: Path | None,
    force: bool,
    everything: bool,
    machine_readable: bool,
    documents: int,
    timeout: float,
    environment: str,
) -> None:
    """Write the two files of a form's model, as `show` shows it.

    A running loop finds them by itself, and makes the table in its next run. No value of any report is
    written.
    """
    logs.configure(level="warning")
    settings = _settings(environment)
    models = _models(settings)
    if output is None:
        _refuse_without_folder(settings)
    proposal = _proposal(settings, form, Sample(documents, timeout), everything=everything)
    with _connected(settings) as connection:
        tables = relations(connection, settings.dbt_postgres_schema)
    empty = ProjectModels(Path(), {}, {}, {})
    written = write(proposal, models or empty, tables, output=output, force=force)
    if machine_readable:
        answer = {"form": form, "model": written.model, "files": [str(file) for file in written.files]}
        click.echo(json.dumps(answer, ensure_ascii=False))
        return
    for file in written.files:
        click.echo(f"wrote {file}")
    click.echo(
        f"{len(proposal.columns)} columns. Look them through; the running loop makes the table "
        f"{written.model}."
    )


def _settings(environment: str) -> Settings:
    return reachable_settings(Environment(environment), needs=NEEDS)


def _proposal(settings: Settings, form: str, sample: Sample, *, everything: bool) -> Proposal:
    with _connected(settings) as connection:
        findings = fields_of(connection, settings.postgres_schema, form, sample)
        return propose(form, findings, reserved_words(connection), everything=everything)


def _models(settings: Settings) -> ProjectModels | None:
    """The models of the package in use; None where that is downloaded."""
    project = local_project(settings.cht_pipeline_branch_url, OWN_PACKAGE)
    return None if project is None else models_of(project)


def _refuse_without_folder(settings: Settings) -> None:
    project = local_project(settings.cht_pipeline_branch_url, OWN_PACKAGE)
    if project is None:
        raise SettingsError(
            ["the package in use (CHT_PIPELINE_BRANCH_URL) is no folder on this machine"],
            hint="Name a folder with --output, and add the files to the package where it is kept.",
        )
    if not has_form_macro(project):
        raise SettingsError(
            [f"{project} has no macro form()"],
            hint="It comes with our package, dbt/packages/cht_pipeline. Or name a folder with --output.",
        )


def _as_json(proposal: Proposal, *, examples: bool) -> dict[str, Any]:
    return {
        "form": proposal.form,
        "reports": proposal.reports,
        "columns": [
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
        ],
        "groups": [["fields", *group] for group in proposal.groups],
        "left_out": [{"path": list(one.path), "reason": one.reason} for one in proposal.left_out],
        "notes": list(proposal.notes),
    }


def _print_table(
    headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, right: tuple[str, ...]
) -> None:
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


@contextmanager
def _connected(settings: Settings) -> Iterator[Connection]:
    with interruptible_queries(), told_of("forms"), dbt_endpoint(settings).connect() as connection:
        yield connection
