"""Forms: which there are, what their reports hold, and a model for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import click
from click.core import ParameterSource
from psycopg2.extensions import connection as Connection

from cht_sync import logs
from cht_sync.cli.form_words import (
    print_forms,
    print_forms_json,
    print_proposal,
    print_proposal_json,
    print_written,
    print_written_json,
)
from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option, reachable_settings
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.reconcile.interrupt import interruptible_queries
from cht_sync.reconcile.table import told_of
from cht_sync.runtime.containers.inside import handed_out_settings
from cht_sync.runtime.dbt import NEEDS, OWN_PACKAGE
from cht_sync.settings import CHECKOUT, Settings
from cht_sync.transform.forms.models import ProjectModels, has_form_macro, local_project, models_of
from cht_sync.transform.forms.proposal import Proposal, propose
from cht_sync.transform.forms.reading import Sample, fields_of, forms_of, relations, reserved_words
from cht_sync.transform.forms.writing import write
from cht_sync.warehouse.connection import dbt_endpoint

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
    say = print_forms_json if machine_readable else print_forms
    say(seen, None if models is None else models.forms)


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
    say = print_proposal_json if machine_readable else print_proposal
    say(proposal, examples=not no_examples)


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
    settings = _settings(environment, output)
    models = _models(settings)
    if output is None:
        _refuse_without_folder(settings)
    proposal = _proposal(settings, form, Sample(documents, timeout), everything=everything)
    with _connected(settings) as connection:
        tables = relations(connection, settings.dbt_postgres_schema)
    empty = ProjectModels(Path(), {}, {}, {})
    written = write(proposal, models or empty, tables, output=output, force=force)
    if handed_out_settings() is not None:
        # Inside a container the checkout is elsewhere than where a person looks for it.
        first, second = written.files
        written = replace(written, files=(_in_checkout(first), _in_checkout(second)))
    if machine_readable:
        print_written_json(proposal, written)
    else:
        print_written(proposal, written, in_use=output is None)


def _in_checkout(file: Path) -> Path:
    return file.relative_to(CHECKOUT) if file.is_relative_to(CHECKOUT) else file


def _settings(environment: str, output: Path | None = None) -> Settings:
    return reachable_settings(Environment(environment), needs=NEEDS, output=output)


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


@contextmanager
def _connected(settings: Settings) -> Iterator[Connection]:
    with interruptible_queries(), told_of("forms"), dbt_endpoint(settings).connect() as connection:
        yield connection
