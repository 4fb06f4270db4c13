"""What is wrong, and what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import click
from rich.console import Console

from cht_sync.cli.group import main
from cht_sync.cli.options import reachable_settings
from cht_sync.environments import SERVICE_NAMES, SERVICES, Environment
from cht_sync.errors import SettingsError
from cht_sync.pipeline.couchdb.hints import ENVIRONMENT
from cht_sync.runtime.containers import command
from cht_sync.runtime.containers.inside import handed_out_settings
from cht_sync.runtime.containers.running import Installation
from cht_sync.runtime.doctor import examine, screen, seen
from cht_sync.runtime.doctor.examine import Examined
from cht_sync.runtime.doctor.finding import Result
from cht_sync.runtime.doctor.situation import Situation
from cht_sync.settings import default_home

FAILED, SETTINGS_REFUSED = 1, SettingsError.exit_code
INSIDE_TIMEOUT = 600.0
"""Seconds for all checks inside the network; each has an end of its own."""


@main.command("doctor", short_help="Say what is wrong, and what to do.")
@click.option(
    "--env",
    "environment",
    type=click.Choice([one.value for one in Environment]),
    envvar=ENVIRONMENT,
    help="Which environment; default: the one that runs, else local.",
)
@click.option(
    "--runtime",
    type=click.Choice(["auto", "docker", "embedded"]),
    default="auto",
    show_default=True,
    help="As for `up`, where nothing runs. With docker a machine without Docker has failed.",
)
@click.option(
    "--without",
    type=click.Choice(SERVICE_NAMES),
    multiple=True,
    help="As for `up`, where nothing runs: a service not to be started; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: check, group, result, message, remedy.")
def doctor(environment: str | None, runtime: str, without: tuple[str, ...], as_json: bool) -> None:
    """Check the machine, the settings and every connection, and say what to do.

    It asks and changes nothing, and may be called at any time: before the first `up`, and while something
    runs, which is then what is examined. At CouchDB it logs in once and never again after a refusal: six
    wrong passwords would lock the account.

    A ✓ is well, ! is to be looked at, ✗ has failed; → says what to do. What could not be asked has a -, with
    the reason. Exit code 0: nothing failed; 1: something did; 2: settings are refused.

    Example: cht-sync doctor --env prod
    """
    handed_out = handed_out_settings()
    if handed_out is not None:
        services = SERVICES[handed_out.environment]
        situation, containers = seen.from_inside(handed_out, services, services), None
    else:
        wanted = None if environment is None else Environment(environment)
        situation, containers = seen.look(wanted, runtime, default_home(), without)
    console = Console(highlight=False)
    found: list[Examined] = []

    def kept() -> Iterator[Examined]:
        for one in _examined(situation, containers, is_inside=handed_out is not None):
            found.append(one)
            yield one

    if as_json:
        click.echo(examine.as_json(list(kept())))
    else:
        console.print(f"cht-sync {situation.environment} ({situation.runtime})\n", style="bold")
        for line in screen.report(kept()):
            console.print(line, soft_wrap=True)
        console.print()
        console.print(screen.conclusion(found))
    sys.exit(_exit_code(found, situation))


@main.command(hidden=True)
@click.option("--service", "services", multiple=True, help="Of the environment; may be repeated.")
@click.option("--running", multiple=True, help="One of them that runs; may be repeated.")
def examine_inside(services: tuple[str, ...], running: tuple[str, ...]) -> None:
    """What `doctor` asks from inside the network."""
    settings = handed_out_settings() or reachable_settings(Environment.LOCAL)
    situation = seen.from_inside(settings, services, running)
    click.echo(examine.as_json(list(examine.run(examine.SERVERS, situation))))


def _examined(
    situation: Situation, containers: Installation | None, *, is_inside: bool
) -> Iterator[Examined]:
    if is_inside:
        return examine.run(examine.SERVERS, situation)
    if containers is None:
        return examine.examine(situation)
    return examine.examine(situation, lambda: _asked_inside(containers, situation))


def _asked_inside(containers: Installation, situation: Situation) -> Sequence[Examined]:
    """Raises ChtSyncError, and ValueError for an answer that is none."""
    running = [name for name in situation.services if situation.is_running(name)]
    words = ["examine-inside", *(f"--service={name}" for name in situation.services)]
    words += [f"--running={name}" for name in running]
    return examine.from_json(command.printed(containers.compose, words, INSIDE_TIMEOUT))


def _exit_code(found: Sequence[Examined], situation: Situation) -> int:
    if situation.problems:
        return SETTINGS_REFUSED
    return FAILED if any(one.result is Result.FAILED for one in found) else 0
