"""Options and values that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from cht_sync import logs
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.pipeline.couchdb.hints import ENVIRONMENT
from cht_sync.runtime import control, embedded, preflight
from cht_sync.runtime.containers import command, recorded, running
from cht_sync.runtime.containers.inside import handed_out_settings
from cht_sync.runtime.state import EnvironmentState
from cht_sync.settings import STATE_FOLDER, Settings, declared, default_home, load

Command = TypeVar("Command", bound=Callable[..., Any])

environment_option = click.option(
    "--env",
    "environment",
    type=click.Choice([one.value for one in Environment]),
    default=Environment.LOCAL.value,
    show_default=True,
    envvar=ENVIRONMENT,
    help="local: everything on this machine; gamma: beside a test CouchDB; prod: beside the real one.",
)
wait_option = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for changes that are on their way.",
)


def log_options(command: Command) -> Command:
    """The options that say how a service logs."""
    for option in (
        click.option(
            "--log-level",
            type=click.Choice(["error", "warn", "info", "debug"]),
            envvar="LOG_LEVEL",
            help="Least level of log lines. Default: LOG_LEVEL, else info.",
        ),
        click.option(
            "--log-format",
            type=click.Choice(logs.STYLES),
            envvar="LOG_FORMAT",
            help="Form of log lines. Default: LOG_FORMAT, else text.",
        ),
    ):
        command = option(command)
    return command


def configure_logs(log_format: str | None, log_level: str | None, settings: Settings | None = None) -> None:
    """Log as the options say, else as the settings do."""
    style = log_format or (settings.log_format if settings else "text")
    level = log_level or (settings.log_level if settings else "info")
    logs.configure(level=level, style=style)


def reachable_settings(
    environment: Environment,
    *,
    needs: Collection[str] | None = None,
    words: Sequence[str] | None = None,
    output: Path | None = None,
) -> Settings:
    """Where the running environment's services are; else what the settings say.

    Where they are containers, they can be reached inside their network only: the whole command is run there
    then, and this process ends with its exit code. `words` is that command, where it is not this one's own;
    `output` is what its option `--output` says.

    `needs`: the only variables that must be set, for a service that runs alone. Says on standard error
    when the settings that are given now are others.
    """
    handed_out = handed_out_settings()
    if handed_out is not None:
        return handed_out
    home = default_home()
    record = recorded.read(home / STATE_FOLDER)
    if record is not None:
        own = words or _own_words(sys.argv[1:])
        if output is not None:
            output = output.resolve()
            # Made here, it is ours; the engine would make it root's.
            output.mkdir(parents=True, exist_ok=True)
            own = [*_without_output(own), "--output", str(output)]
        sys.exit(command.run(running.of(record, home).compose, own, output))
    state = control.running(home / STATE_FOLDER)
    if state is None:
        return embedded.load_settings(environment, home=home, needs=needs)
    # A service of the environment was started with other variables on purpose.
    is_service = os.getppid() == state.supervisor_pid
    changes = "" if is_service else _changes(state, home)
    if changes:
        click.echo(
            f"{state.environment} runs with other settings than those given now ({changes}); "
            "they count after: cht-sync down, cht-sync up",
            err=True,
        )
    return embedded.recorded_settings(state, home)


def settings_from_here(environment: Environment, *, needs: Collection[str] | None = None) -> Settings:
    """As `reachable_settings`, but the command goes on here: for servers that are nobody's container."""
    home = default_home()
    record = recorded.read(home / STATE_FOLDER)
    if record is None or handed_out_settings() is not None:
        return reachable_settings(environment, needs=needs)
    return preflight.from_here(running.of(record, home).settings)


def _own_words(words: Sequence[str]) -> list[str]:
    """The words of a command without --project-dir: inside a container the checkout is elsewhere."""
    if words and words[0] == "--project-dir":
        return list(words[2:])
    return [word for word in words if not word.startswith("--project-dir=")]


def _without_output(words: Sequence[str]) -> list[str]:
    if "--output" in words:
        place = words.index("--output")
        return [*words[:place], *words[place + 2 :]]
    return [word for word in words if not word.startswith("--output=")]


def _changes(state: EnvironmentState, home: Path) -> str:
    """The names of the settings that have changed, or why they are refused now; empty: none has."""
    try:
        given = load(state.environment, home=home, accepted=True).given
    except SettingsError as error:
        return "; ".join(error.problems)
    names = [name for name, _variable in declared() if given.get(name) != state.given.get(name)]
    return ", ".join(names)
