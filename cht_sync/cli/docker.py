"""`up`, `down`, `status` and `logs` where the environment is containers."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from cht_sync.cli.group import main
from cht_sync.cli.options import reachable_settings
from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.runtime import chosen, ports, preflight, screen, status
from cht_sync.runtime.containers import compose, recorded, running
from cht_sync.runtime.containers import engine as engines
from cht_sync.runtime.containers.available import refuse_a_full_disk
from cht_sync.runtime.containers.running import Installation
from cht_sync.runtime.pipelines import pipeline_problems
from cht_sync.settings import STATE_FOLDER, Settings, declared, default_home

FIRST_MODELS_PATIENCE = 180.0
"""Seconds for which `up` waits until models have been made of the first documents."""


def installation() -> Installation | None:
    """The environment of containers that `up` has recorded; None where there is none."""
    return _recorded_in(default_home() / STATE_FOLDER)


def stopped(environment: Environment) -> Installation | None:
    """The containers' environment whose data `down` has kept; None where there is none."""
    return _recorded_in(default_home() / STATE_FOLDER / running.RUNTIME / environment.value)


def up(environment: Environment, *, without: Sequence[str], why: str, stop: threading.Event) -> bool:
    """Start it and show the final screen; False when `stop` came first. Raises ChtSyncError."""
    home = default_home()
    console = Console(highlight=False)
    before = recorded.read(home / STATE_FOLDER)
    if before is not None and before.environment is not environment:
        raise ChtSyncError(f"{before.environment} is running here", hint="End it first: cht-sync down")
    # Kept until all is started: the engine takes the last port half a minute after it was chosen.
    with engines.connected() as engine, closing(ports.Reservations()) as reservations:
        compose.version()
        settings = preflight.loaded(
            lambda: running.load_settings(environment, home=home, without=without),
            lambda refused: preflight.from_here(
                running.readable_settings(environment, home=home, ignoring=refused)
            ),
            chosen.names(environment, without),
        )
        changed = before is not None and before.given != dict(settings.given)
        if before is None or changed:
            names = chosen.service_names(settings, without)
            screen.warn(console, preflight.refuse(preflight.from_here(settings), names))
        refuse_a_full_disk(engine)
        _refuse_too_many_processors(settings, engine)
        wanted = running.prepare(settings, without, engine, reservations.take)
        console.print(f"Starting {environment} (docker: {why})")
        if not _get_images(console, wanted, engine, stop):
            return False
        with screen.progress(console) as progress:
            state = running.start(wanted, engine, stop, progress.show, anew=changed)
        if state is None:
            if before is not None:
                console.print(
                    "! unfinished: some services are not replaced yet; again: cht-sync up", style="red"
                )
            return False
    has_first_models = {"data-generator", "dbt"} <= {*wanted.services}
    found = _first_models(console, wanted, stop) if has_first_models else None
    if stop.is_set():
        return False
    screen.final_screen(console, state, wanted.settings, {})
    for problem in (found or running.gather(wanted))["problems"]:
        console.print(f"! {problem}", style="red")
    return True


def down(wanted: Installation, *, volumes: bool) -> int:
    """Stop and remove its containers; return how many services ran."""
    with engines.connected() as engine:
        count = sum(one.state != "waiting" for one in running.state(wanted, engine).services)
        running.stop(wanted, engine, volumes=volumes)
    return count


def kill(wanted: Installation) -> None:
    """Stop everything at once."""
    with engines.connected() as engine:
        running.kill(wanted, engine)


def gathered(wanted: Installation) -> dict[str, Any]:
    """The whole of `status --json`."""
    with engines.connected() as engine:
        state = running.state(wanted, engine)
    services = [status.service_shape(one, one.state) for one in state.services]
    found = status.shape(state, services, running.gather(wanted))
    problems = [
        f"{one.name} has no container; start it with: cht-sync up"
        for one in state.services
        if one.state == "waiting"
    ]
    found["problems"] = problems + found["problems"]
    return found


def logs(wanted: Installation, services: Sequence[str], *, follow: bool, lines: int) -> NoReturn:
    """Show the logs as Compose does, in place of this process."""
    if "supervisor" in services:
        raise ChtSyncError(
            "supervisor is of local processes; containers are watched by the Docker engine",
            hint="Its log: journalctl --unit docker",
        )
    more = ["--follow"] if follow else []
    wanted.compose.become("logs", "--no-color", "--tail", str(lines), *more, *services)


@main.command(hidden=True)
@click.option("--logstash/--no-logstash", default=True, help="Whether the pipelines are ours to ask.")
def gather(logstash: bool) -> None:
    """What `status` asks from inside the network."""
    settings = reachable_settings(Environment.LOCAL)
    found = status.databases_and_models(settings)
    if logstash:
        found["problems"] += pipeline_problems(f"logstash:{settings.logstash_api_port}")
    click.echo(json.dumps(found))


def _recorded_in(folder: Path) -> Installation | None:
    record = recorded.read(folder)
    return None if record is None else running.of(record, default_home())


def _refuse_too_many_processors(settings: Settings, engine: engines.Engine) -> None:
    there = engine.processors()
    problems = [
        f"{name} {getattr(settings, name.lower()):g} is more than the {there} that the machine has"
        for name, _variable in declared()
        if name.endswith("_CPUS") and getattr(settings, name.lower()) > there
    ]
    if problems:
        raise SettingsError(problems, hint="Nothing was started.")


def _get_images(
    console: Console, wanted: Installation, engine: engines.Engine, stop: threading.Event
) -> bool:
    console.print("  images          pulling what is not here, building ours")
    with console.status("images") as line:

        def say(step: str) -> None:
            if step.startswith(running.NOT_BUILT):
                console.print(f"! images: {step}", style="yellow")
            line.update(f"images          {step}")

        return running.get_images(wanted, engine, stop, say)


def _first_models(console: Console, wanted: Installation, stop: threading.Event) -> dict[str, Any] | None:
    """Wait for the first run of dbt, so that what the final screen shows to look at is there."""
    console.print("  dbt             first run")
    deadline = threading.Event()
    timer = threading.Timer(FIRST_MODELS_PATIENCE, deadline.set)
    timer.start()
    try:
        while not deadline.is_set() and not stop.wait(0.5):
            found = running.gather(wanted)
            if found["dbt"] is not None:
                return found
    finally:
        timer.cancel()
    return None
