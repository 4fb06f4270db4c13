"""Starting, stopping and watching an environment."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from cht_sync import logs
from cht_sync.cli import docker
from cht_sync.cli.group import INTERRUPTED, main
from cht_sync.cli.options import environment_option
from cht_sync.environments import ONCE, SERVICE_NAMES, Environment
from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.files import write_atomically
from cht_sync.runtime import chosen, control, embedded, preflight, runtimes, screen, status
from cht_sync.runtime import state as states
from cht_sync.runtime.credentials import kept_secrets
from cht_sync.runtime.supervisor import is_supervised
from cht_sync.settings import (
    STATE_FOLDER,
    Settings,
    declared,
    default_home,
    env_template,
    load,
    missing_secrets,
)
from cht_sync.settings import check as check_texts
from cht_sync.shutdown import stop_on_signals

WATCH_EVERY, WATCH_CONTAINERS_EVERY = 1.0, 5.0
"""Seconds between two looks."""


@main.command(short_help="Start an environment and wait until it is ready.")
@environment_option
@click.option(
    "--runtime",
    type=click.Choice(["auto", "docker", "embedded"]),
    default="auto",
    show_default=True,
    help="Containers, or processes on this machine.",
)
@click.option("--detach", "-d", is_flag=True, help="Return once everything is ready; it goes on running.")
@click.option(
    "--without",
    type=click.Choice(SERVICE_NAMES),
    multiple=True,
    help="A service not to start; may be repeated.",
)
def up(environment: str, runtime: str, detach: bool, without: tuple[str, ...]) -> None:
    """Start everything that an environment needs, in order, and wait until it is ready.

    Without --detach the status stays on the screen; Ctrl-C stops everything in order, a second Ctrl-C at
    once. State and logs are in .cht-sync/.
    """
    home, wanted = default_home(), Environment(environment)
    taken, reason = runtimes.choose(runtime, wanted, home=home, without=without)
    if taken == runtimes.DOCKER:
        _up_as_containers(wanted, detach=detach, without=without, why=reason)
        return
    _up_as_processes(wanted, detach=detach, without=without, why=reason)


@main.command(short_help="Stop everything; the data stays.")
@click.option("--volumes", is_flag=True, help="Also delete the data and the secrets, after a question.")
@click.option("--yes", is_flag=True, help="Delete them without a question.")
@click.option(
    "--env",
    "environment",
    type=click.Choice([one.value for one in Environment]),
    help="Whose data --volumes deletes. Default: of what is running, else local.",
)
def down(volumes: bool, yes: bool, environment: str | None) -> None:
    """Stop everything that `up` started, also what a killed one left behind.

    Each environment has data of its own; --volumes deletes that of one, after a question.
    """
    folder = default_home() / STATE_FOLDER
    containers = docker.installation()
    recorded = states.read(folder)
    kept = recorded.environment if recorded is not None else Environment.LOCAL
    if containers is not None:
        kept = containers.recorded.environment
    emptied = Environment(environment) if environment else kept
    if volumes and containers is not None and emptied is not kept:
        raise SettingsError([f"{kept} runs as containers; its data alone can be deleted: --env {kept}"])
    runs_as_processes = containers is None and recorded is not None
    kept_by_containers = docker.stopped(emptied) if volumes and not runs_as_processes else containers
    if volumes and not yes:
        of_what = "of containers" if kept_by_containers is not None else "of local processes"
        question = f"Delete the data and the secrets of {emptied}, {of_what}, for good?"
        click.confirm(question, abort=True, err=True)
    if kept_by_containers is not None:
        stopped = docker.down(kept_by_containers, volumes=volumes)
    else:
        stopped = control.down(folder, volumes=emptied if volumes else None)
    click.echo(f"Stopped {stopped} services." if stopped else "Nothing was running.")
    if volumes:
        click.echo(f"Data and secrets of {emptied} are deleted.")


@main.command("status", short_help="Show what runs, what is pending, how far behind.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option(
    "--watch",
    is_flag=True,
    help="Again every second, with containers every five, until Ctrl-C. On a terminal in place; elsewhere a "
    "look is printed when something has changed; with --json each look, a line.",
)
def status_command(as_json: bool, watch: bool) -> None:
    """Show services, databases and models: what runs, what is pending, how far behind.

    Exit code 1 when nothing runs, or a service does not; of --watch always 130, since Ctrl-C ends it.
    """
    home = default_home()
    if watch:
        with stop_on_signals() as stop:
            _watch_alone(Console(highlight=False), home, stop, as_json=as_json)
        sys.exit(INTERRUPTED)
    found = _status(home)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found["environment"] is None:
        click.echo(screen.NOTHING_RUNS)
    else:
        Console(highlight=False).print(screen.status_view(found))
    running = all(one["state"] == "running" for one in found["services"])
    sys.exit(0 if found["services"] and running and not found["problems"] else 1)


@main.command("logs")
@click.argument("services", nargs=-1, type=click.Choice([*SERVICE_NAMES, "supervisor", *ONCE]))
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, until Ctrl-C.")
@click.option("-n", "--lines", default=50, show_default=True, help="Lines of each log to begin with.")
def logs_command(services: tuple[str, ...], follow: bool, lines: int) -> None:
    """Show the logs of some services, or of all."""
    containers = docker.installation()
    if containers is not None:
        docker.logs(containers, services, follow=follow, lines=lines)
    folder = default_home() / STATE_FOLDER / "logs"
    names = services or (*SERVICE_NAMES, "supervisor")
    paths = [folder / f"{name}.log" for name in names if follow or (folder / f"{name}.log").exists()]
    if not paths:
        raise ChtSyncError("there are no logs yet", hint="Start something first: cht-sync up")
    width = max(len(path.stem) for path in paths)
    with stop_on_signals() as stop:
        control.follow_logs(
            paths,
            stop,
            lambda name, line: click.echo(f"{name:<{width}} | {line}"),
            follow=follow,
            lines=lines,
        )


@main.command(short_help="Write .env with fresh secrets.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="A setting; may be repeated.")
@click.option("--force", is_flag=True, help="Replace a .env that is there.")
@environment_option
def init(assignments: tuple[str, ...], force: bool, environment: str) -> None:
    """Write .env with fresh secrets; asks for what is required and was not given with --set.

    Example: cht-sync init --env prod --set COUCHDB_HOST=couchdb.example.org
    """
    path = default_home() / ".env"
    if path.exists() and not force:
        raise SettingsError([f"{path} is there already"], hint="Edit it, or replace it with --force.")
    values = _assigned(assignments)
    check_texts(values)
    wanted = Environment(environment)
    for name, variable in declared():
        asked = name.startswith(("COUCHDB_", "POSTGRES_HOST"))
        if wanted in variable.required and asked and name not in values and sys.stdin.isatty():
            values[name] = click.prompt(f"{name} ({variable.help})", hide_input=variable.secret)
    # The password of somebody else's CouchDB cannot be made up.
    made = missing_secrets(values)
    local_data = path.parent / STATE_FOLDER / Environment.LOCAL.value
    if wanted is Environment.LOCAL and local_data.exists():
        # The data that is there already was made with these.
        made |= kept_secrets(local_data)
    elif wanted is not Environment.LOCAL:
        made.pop("COUCHDB_PASSWORD", None)
    write_atomically(path, env_template({**made, **values}))
    try:
        load(wanted, home=path.parent, environ={})
    except SettingsError as error:
        click.echo(f"Wrote {path} with fresh secrets. Still to be set in it:")
        for problem in error.problems:
            click.echo(f"  {problem}")
        return
    click.echo(f"Wrote {path} with fresh secrets. Next: cht-sync up --env {environment}")


@main.command(hidden=True)
@environment_option
@click.option("--without", multiple=True)
def supervise(environment: str, without: tuple[str, ...]) -> None:
    """What `up` runs in the background."""
    # What keeps the settings from being read is said in text; they say how all else is.
    logs.configure()
    with stop_on_signals() as stop:
        embedded.supervise(Environment(environment), without=without, home=default_home(), stop=stop)


def _up_as_processes(wanted: Environment, *, detach: bool, without: tuple[str, ...], why: str) -> None:
    home = default_home()
    console = Console(highlight=False)
    settings = preflight.loaded(
        lambda: embedded.load_settings(wanted, home=home, needs=chosen.demanded(without)),
        lambda refused: load(wanted, home=home, needs=(), accepted=True, ignoring=refused),
        chosen.names(wanted, without),
    )
    with stop_on_signals() as stop:
        if not _may_start(console, settings, stop, without=without):
            sys.exit(INTERRUPTED)
        supervision = control.launch(settings, without=without)
        if supervision.own:
            console.print(f"Starting {wanted} (embedded: {why})")
        else:
            console.print(f"{wanted} was started already")
        try:
            with screen.progress(console) as progress:
                state = supervision.follow(stop, progress.show)
            if state is not None:
                _final_screen(console, state, home)
                if detach or not supervision.own:
                    return
                _watch(console, home, stop, ended=lambda: supervision.ended)
            if not supervision.own:
                sys.exit(INTERRUPTED)
            if supervision.ended:
                raise ChtSyncError("the supervisor has ended", hint="Clean up with: cht-sync down")
            console.print("Stopping everything in order (Ctrl-C again: at once)")
            supervision.stop()
        except KeyboardInterrupt:
            if supervision.own:
                console.print("Stopping everything at once")
                supervision.kill()
            raise
    sys.exit(INTERRUPTED)


def _may_start(
    console: Console, settings: Settings, stop: threading.Event, *, without: tuple[str, ...]
) -> bool:
    """Whether the way is free; False when `stop` came first. Raises ChtSyncError where it is not."""
    before = control.running(settings.state_folder)
    if before is not None and before.phase == "stopping":
        console.print("Waiting for the end of what is stopping")
        if not control.supervision(settings.state_folder, before).wait_until_ended(stop):
            return False
        before = None
    if before is None:
        names = chosen.service_names(settings, {*without, *embedded.unavailable()})
        screen.warn(console, preflight.refuse(embedded.placed(settings, names), names))
    elif before.environment is not settings.environment:
        raise ChtSyncError(f"{before.environment} is running here", hint="End it first: cht-sync down")
    elif before.given != dict(settings.given):
        console.print("It was started with other settings; these count after: cht-sync down")
    return True


def _up_as_containers(environment: Environment, *, detach: bool, without: tuple[str, ...], why: str) -> None:
    console = Console(highlight=False)
    own = docker.installation() is None
    with stop_on_signals() as stop:
        try:
            started = docker.up(environment, without=without, why=why, stop=stop)
            if started and detach:
                return
            if started:
                _watch(console, default_home(), stop, ended=lambda: False)
            containers = docker.installation() if own else None
            if containers is not None:
                console.print("Stopping everything in order (Ctrl-C again: at once)")
                docker.down(containers, volumes=False)
        except KeyboardInterrupt:
            containers = docker.installation() if own else None
            if containers is not None:
                console.print("Stopping everything at once")
                docker.kill(containers)
            raise
    sys.exit(INTERRUPTED)


def _final_screen(console: Console, state: states.EnvironmentState, home: Path) -> None:
    settings = embedded.recorded_settings(state, home)
    screen.final_screen(console, state, settings, embedded.unavailable())
    for problem in status.gather(state, settings)["problems"]:
        console.print(f"! {problem}", style="red")


def _status(home: Path) -> dict[str, Any]:
    containers = docker.installation()
    if containers is not None:
        return docker.gathered(containers)
    state = states.read(home / STATE_FOLDER)
    supervised = state is not None and is_supervised(state)
    if state is None or not (supervised or state.leftovers()):
        return status.nothing_runs()
    found = status.gather(state, embedded.recorded_settings(state, home))
    if not supervised:
        found["problems"].append(
            "the supervisor is gone, so a service that ends is not started again; cht-sync up ends what it "
            "left and starts everything anew, cht-sync down only ends it"
        )
    return found


def _watch_alone(console: Console, home: Path, stop: threading.Event, *, as_json: bool) -> None:
    """As `_watch`, for whatever runs or comes to run; also where nobody looks at a terminal."""
    live = Live(console=console, refresh_per_second=4) if console.is_terminal and not as_json else None
    shown: object = None
    with live or contextlib.nullcontext():
        while not stop.is_set():
            found = _status(home)
            if as_json:
                click.echo(json.dumps(found))
            elif live is not None:
                live.update(screen.status_view(found))
            elif shown != (shown := screen.unmoved(found)):
                console.print(screen.status_view(found))
            _pause(found, stop)


def _watch(console: Console, home: Path, stop: threading.Event, ended: Callable[[], bool]) -> None:
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while not stop.is_set() and not ended():
            found = _status(home)
            if found["environment"] is not None:
                live.update(screen.status_view(found))
            _pause(found, stop)


def _pause(found: dict[str, Any], stop: threading.Event) -> None:
    # With containers each look starts one.
    stop.wait(WATCH_EVERY if found["runtime"] != runtimes.DOCKER else WATCH_CONTAINERS_EVERY)


def _assigned(assignments: tuple[str, ...]) -> dict[str, str]:
    known = {name for name, _variable in declared()}
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or name not in known:
            raise SettingsError([f"--set {name}: no such setting"], hint="The names are in env.template.")
        values[name] = value
    return values
