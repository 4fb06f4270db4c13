"""Running the models of the cht-pipeline package and their tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

from cht_sync import logs
from cht_sync.cli.docker import installation
from cht_sync.cli.group import main
from cht_sync.cli.options import configure_logs, environment_option, log_options, reachable_settings
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.runtime.containers.dbt_docs import export_docs
from cht_sync.runtime.dbt import NEEDS, transform_options
from cht_sync.settings import Settings
from cht_sync.shutdown import stop_on_signals
from cht_sync.transform.docs import generate_docs
from cht_sync.transform.loop import LOOPBACK, loop, run_once, run_tests_once
from cht_sync.transform.options import TransformOptions
from cht_sync.values import Invalid, mapping

Command = TypeVar("Command", bound=Callable[..., Any])

CHOICE = (
    click.option("--select", multiple=True, help="Which models, as dbt's; default: DBT_SELECT, else all."),
    click.option("--exclude", multiple=True, help="Which models not, as dbt's; default: DBT_EXCLUDE."),
    click.option("--threads", type=click.IntRange(min=1), help="Models at a time; default: DBT_THREADS."),
    click.option("--vars", "variables", metavar="YAML", help="Variables of the package, over DBT_VARS."),
)
BUILDING = (
    click.option("--full-refresh", is_flag=True, help="Build incremental models anew."),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        help="Most documents that a model takes in a run, where the package has batch_size; "
        "default: DBT_BATCH_SIZE.",
    ),
)


def _with(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@main.group()
def dbt() -> None:
    """Run the models of the cht-pipeline package."""


@dbt.command("run")
@_with(*CHOICE, *BUILDING)
@environment_option
def dbt_run(environment: str, **given: Any) -> None:
    """Run the models once; exit code 1 when one fails, 2 when none is selected."""
    logs.configure()
    sys.exit(0 if run_once(_options(_settings(environment), **given)).succeeded else 1)


@dbt.command("test")
@_with(*CHOICE)
@environment_option
def dbt_test(environment: str, **given: Any) -> None:
    """Run the tests of the models once; exit code 1 when one fails."""
    logs.configure()
    partial = bool(given["select"] or given["exclude"] or given["variables"])
    sys.exit(0 if run_tests_once(_options(_settings(environment), **given), partial=partial).succeeded else 1)


@dbt.command("loop")
@_with(*CHOICE, *BUILDING)
@click.option("--metrics-host", default=LOOPBACK, show_default=True, help="Where DBT_METRICS_PORT listens.")
@log_options
@environment_option
def dbt_loop(
    environment: str, log_format: str | None, log_level: str | None, metrics_host: str, **given: Any
) -> None:
    """Run the models whenever data changed, at most every DATAEMON_INTERVAL seconds, until SIGTERM."""
    configure_logs(log_format, log_level)
    with stop_on_signals() as stop:
        settings = _settings(environment)
        configure_logs(log_format, log_level, settings)
        loop(_options(settings, **given), stop, metrics_host=metrics_host)


@dbt.command("docs")
@environment_option
def dbt_docs(environment: str) -> None:
    """Write dbt's documentation of the models, a page for the browser, into the environment's folder."""
    logs.configure()
    containers = installation()
    if containers is not None:
        click.echo(export_docs(containers))
        return
    options = transform_options(_settings(environment))
    click.echo(generate_docs(options))


def _settings(environment: str) -> Settings:
    return reachable_settings(Environment(environment), needs=NEEDS)


def _options(
    settings: Settings,
    *,
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    threads: int | None,
    variables: str | None,
    full_refresh: bool = False,
    batch_size: int | None = None,
) -> TransformOptions:
    options = transform_options(settings)
    return replace(
        options,
        selectors=select or options.selectors,
        exclude=exclude or options.exclude,
        threads=threads or options.threads,
        vars={**options.vars, **(_variables(variables) if variables else {})},
        full_refresh=full_refresh,
        batch_size=batch_size or options.batch_size,
    )


def _variables(text: str) -> dict[str, Any]:
    try:
        return dict(mapping(text))
    except Invalid as error:
        raise SettingsError([f"--vars {text!r} {error}"]) from error
