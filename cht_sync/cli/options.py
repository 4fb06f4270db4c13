"""Options and values that several commands share."""

from __future__ import annotations

import sys

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cht_sync.environments import Environment
from cht_sync.runtime import control, embedded
from cht_sync.settings import STATE_FOLDER, Settings, default_home

environment_option = click.option(
    "--env",
    "environment",
    type=click.Choice([one.value for one in Environment]),
    default=Environment.LOCAL.value,
    show_default=True,
    help="local: everything on this machine; gamma: beside a test CouchDB; prod: beside the real one.",
)
log_options = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of log lines.",
)


def reachable_settings(environment: Environment) -> Settings:
    """Where the running environment's services are; else what the settings say."""
    home = default_home()
    state = control.running(home / STATE_FOLDER)
    if state is not None:
        return embedded.recorded_settings(state, home)
    return embedded.load_settings(environment, home=home)


def bar() -> Progress:
    """A progress bar on standard error; silent where nobody looks."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
