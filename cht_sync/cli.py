"""The command line: each command reads its settings, calls one function, and prints.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 130 interrupted. `pipeline` keeps Logstash's:
0 and 1.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cht_sync import __version__, logs, render
from cht_sync.environments import SERVICE_NAMES, Environment
from cht_sync.errors import ChtSyncError, ServiceError, SettingsError
from cht_sync.files import write_atomically
from cht_sync.generator.couchdb import Client
from cht_sync.generator.plan import GeneratorOptions
from cht_sync.generator.run import burst
from cht_sync.generator.steady import steady
from cht_sync.ingest.config import IngestConfig
from cht_sync.ingest.server import serve
from cht_sync.pipeline import sources
from cht_sync.pipeline.run import run_pipelines
from cht_sync.render import TEMPLATES
from cht_sync.runtime import control, embedded, postgres, screen, status
from cht_sync.runtime import state as states
from cht_sync.runtime.credentials import kept_secrets
from cht_sync.runtime.dbt import transform_options
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
from cht_sync.tokens import LONG_LIFE, make_token
from cht_sync.transform.loop import loop, run_once
from cht_sync.transform.options import TransformOptions
from cht_sync.warehouse import schema

INTERRUPTED = 130

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


class Commands(click.Group):
    """Shows our errors as one line and a hint, never as a traceback, and gives their exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            if not TEMPLATES.is_dir():
                raise ChtSyncError(
                    f"{TEMPLATES} is missing: cht-sync runs from its checkout",
                    hint="Install it there, with: make local (or: pip install --editable .)",
                )
            return super().invoke(ctx)
        except ChtSyncError as error:
            show_error(error)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            raise  # click ends quietly: the reader of our output has gone
        except OSError as error:
            # What the machine refuses: a full disk, a file of another user.
            parts = [str(part) for part in (error.filename, error.strerror) if part]
            show_error(ChtSyncError(": ".join(parts) or str(error)))
            ctx.exit(1)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cht-sync")
def main() -> None:
    """Keeps PostgreSQL equal to the CouchDB of a Community Health Toolkit deployment.

    Start with `cht-sync up --env local`, look with `cht-sync status`, end with `cht-sync down`. Settings
    come from the environment or from .env (see env.template).
    """


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
    console = Console(highlight=False)
    settings = embedded.load_settings(wanted, home=home)
    chosen, reason = control.choose_runtime(runtime)
    with stop_on_signals() as stop:
        before = control.running(settings.state_folder)
        if before is not None and before.phase == "stopping":
            console.print("Waiting for the end of what is stopping")
            if not control.supervision(settings.state_folder, before).wait_until_ended(stop):
                sys.exit(INTERRUPTED)
        elif before is not None and before.environment is not wanted:
            raise ChtSyncError(f"{before.environment} is running here", hint="End it first: cht-sync down")
        elif before is not None and before.given != dict(settings.given):
            console.print("It was started with other settings; these count after: cht-sync down")
        supervision = control.launch(settings, without=without)
        if supervision.own:
            console.print(f"Starting {wanted} ({chosen}: {reason})")
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


@main.command(short_help="Stop everything; the data stays.")
@click.option("--volumes", is_flag=True, help="Also delete the data and the secrets.")
@click.option(
    "--env",
    "environment",
    type=click.Choice([one.value for one in Environment]),
    help="Whose data --volumes deletes. Default: of what is running, else local.",
)
def down(volumes: bool, environment: str | None) -> None:
    """Stop everything that `up` started, also what a killed one left behind.

    Each environment has data of its own; --volumes deletes that of one.
    """
    folder = default_home() / STATE_FOLDER
    recorded = states.read(folder)
    kept = recorded.environment if recorded is not None else Environment.LOCAL
    emptied = Environment(environment) if environment else kept
    stopped = control.down(folder, volumes=emptied if volumes else None)
    click.echo(f"Stopped {stopped} services." if stopped else "Nothing was running.")
    if volumes:
        click.echo(f"Data and secrets of {emptied} are deleted.")


@main.command("status", short_help="Show what runs, what is pending, how far behind.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C.")
def status_command(as_json: bool, watch: bool) -> None:
    """Show services, databases and models: what runs, what is pending, how far behind.

    Exit code 1 when nothing runs, or a service does not.
    """
    home = default_home()
    if watch:
        with stop_on_signals() as stop:
            _watch(Console(highlight=False), home, stop, ended=lambda: False)
        return
    found = _status(home)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found["environment"] is None:
        click.echo("Nothing is running. Start it with: cht-sync up")
    else:
        Console(highlight=False).print(screen.status_view(found))
    running = all(one["state"] == "running" for one in found["services"])
    sys.exit(0 if found["services"] and running and not found["problems"] else 1)


@main.command("logs")
@click.argument("services", nargs=-1, type=click.Choice([*SERVICE_NAMES, "supervisor"]))
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, until Ctrl-C.")
@click.option("-n", "--lines", default=50, show_default=True, help="Lines of each log to begin with.")
def logs_command(services: tuple[str, ...], follow: bool, lines: int) -> None:
    """Show the logs of some services, or of all."""
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


@main.command("render-config", short_help="Render the Logstash configuration.")
@environment_option
@click.option("--engine", type=click.Choice(["native", "logstash"]), help="Default: PIPELINE_ENGINE.")
@click.option("--output", default="-", show_default=True, help="A folder, or - to print.")
@click.option("--check", is_flag=True, help="Only say whether the files in the folder are up to date.")
def render_config(environment: str, engine: str | None, output: str, check: bool) -> None:
    """Render the Logstash configuration: one pipeline a database, and pipelines.yml.

    Secrets stay ${VARIABLES}. The files run with `cht-sync pipeline run --path.settings DIR`, or with
    Elastic's Logstash 8 when rendered with --engine logstash. Nothing needs to be reachable.
    """
    settings = load(Environment(environment))
    files = render.render(settings, engine=engine or settings.pipeline_engine)
    if output == "-":
        if check:
            raise SettingsError(["--check needs a folder"], hint="Give it with --output DIR.")
        for name, text in files.items():
            click.echo(f"# ----- {name} -----\n{text}", nl=False)
        return
    if check:
        stale = render.differences(files, Path(output))
        for name in stale:
            click.echo(f"{name} is not up to date")
        sys.exit(1 if stale else 0)
    render.write(files, Path(output))
    for name in files:
        click.echo(str(Path(output) / name))


@main.command(short_help="Print a token for Elastic's Logstash.")
@environment_option
def token(environment: str) -> None:
    """Print a token for Elastic's Logstash (POSTGREST_TOKEN), which cannot make its own.

    It lets its bearer write documents for a year; changing PGRST_JWT_SECRET ends it.
    """
    settings = _reachable_settings(Environment(environment))
    click.echo(make_token(settings.pgrst_jwt_secret, settings.ingest_role, lifetime=LONG_LIFE))


@main.group()
def pipeline() -> None:
    """Run Logstash configurations with our own engine."""


@pipeline.command("run")
@click.option("-f", "--path.config", "paths", multiple=True, help="Configuration: a file, folder or glob.")
@click.option("-e", "--config.string", "text", help="Configuration as text.")
@click.option(
    "--path.settings", "settings_folder", type=click.Path(path_type=Path), help="Folder of pipelines.yml."
)
@click.option(
    "--path.data",
    "data_folder",
    type=click.Path(path_type=Path),
    help="Folder for dead letters. Default: data.",
)
@click.option(
    "-t", "--config.test_and_exit", "test_only", is_flag=True, help="Check the configuration and exit."
)
@click.option(
    "--log.level",
    "level",
    type=click.Choice(list(logs.LEVELS)),
    default="info",
    show_default=True,
    help="Least level of log lines.",
)
@click.option(
    "--log.format",
    "style",
    type=click.Choice(["plain", "json"]),
    default="plain",
    show_default=True,
    help="Form of log lines.",
)
def pipeline_run(
    paths: tuple[str, ...],
    text: str | None,
    settings_folder: Path | None,
    data_folder: Path | None,
    test_only: bool,
    level: str,
    style: str,
) -> None:
    """Run pipelines until they end or SIGTERM or Ctrl-C comes; both drain.

    Exit code 0 when all ended in order, 1 for a configuration that is refused or a pipeline that failed.
    """
    given = [one for one in (paths or None, text, settings_folder) if one is not None]
    if len(given) != 1:
        raise ChtSyncError("give one of -f, -e and --path.settings", hint="See: cht-sync pipeline run --help")
    logs.configure(level=level, style="json" if style == "json" else "text")
    if settings_folder is not None:
        found = sources.from_settings_folder(settings_folder)
    elif text is not None:
        found = [sources.PipelineSource("main", text)]
    else:
        found = [sources.from_paths(paths)]
    folder = data_folder or (settings_folder or Path()) / "data"
    pipelines = sources.load_all(found, os.environ, folder)
    if test_only:
        click.echo("Configuration OK")
        return
    with stop_on_signals() as stop:
        run_pipelines(pipelines, stop)


@main.command("init-db", short_help="Create or upgrade the schema in PostgreSQL.")
@environment_option
def init_db(environment: str) -> None:
    """Create or upgrade everything that cht-sync keeps in PostgreSQL; may be repeated at any time."""
    settings = _reachable_settings(Environment(environment))
    schema.initialise(settings, psql_folder=postgres.binaries_if_installed())
    click.echo(f"{settings.postgres_db} on {settings.postgres_host}:{settings.postgres_port} is up to date.")


@main.command(short_help="Write documents of fictional people.")
@click.option("--docs", default=0, show_default=True, help="Documents to create at once.")
@click.option("--rate", type=float, help="Changes per second afterwards, until Ctrl-C.")
@click.option("--seed", default=1, show_default=True, help="Same seed, same documents.")
@click.option(
    "--updates", default=0.1, show_default=True, help="Share of documents that are edited afterwards."
)
@click.option(
    "--deletes", default=0.02, show_default=True, help="Share of documents that are deleted afterwards."
)
@click.option("--database", "databases", multiple=True, help="Where; default: every database of COUCHDB_DBS.")
@click.option("--remote", is_flag=True, help="Also into a CouchDB that cht-sync did not start.")
def generate(
    docs: int,
    rate: float | None,
    seed: int,
    updates: float,
    deletes: float,
    databases: tuple[str, ...],
    remote: bool,
) -> None:
    """Write realistic CHT documents of fictional people: places, persons and their reports.

    The same seed gives the same documents; what is there already is left alone. The server is that of
    the running environment, else that of COUCHDB_HOST; one that cht-sync did not start only with --remote.
    """
    logs.configure()
    settings = _reachable_settings(Environment.LOCAL)
    if not remote and not _starts_couchdb():
        raise SettingsError(
            [f"{settings.couchdb_url} was not started by cht-sync and may lead to a real CouchDB"],
            hint="If it is for trying things, say so with --remote.",
        )
    options = GeneratorOptions(docs=docs, rate=rate, seed=seed, updates=updates, deletes=deletes)
    for database in databases or settings.couchdb_dbs:
        client = Client(settings.couchdb_url, settings.couchdb_user, settings.couchdb_password)
        with _bar() as bar:
            task = bar.add_task(database, total=docs + round(docs * updates) + round(docs * deletes))
            summary = burst(client, database, options, partial(bar.advance, task))
        client.close()
        click.echo(
            f"{database}: {summary.created} created, {summary.updated} updated, {summary.deleted} deleted, "
            f"{summary.skipped} there already"
        )
    if rate is not None:
        with stop_on_signals() as stop:
            _steady(settings, databases or settings.couchdb_dbs, options, stop)


@main.group(short_help="Serve PostgREST's protocol without PostgREST.")
def ingest() -> None:
    """The embedded ingest server, which speaks PostgREST's protocol."""


@ingest.command("serve")
@click.option("--port", type=int, help="Default: PGRST_SERVER_PORT, else 3000.")
@log_options
def ingest_serve(port: int | None, log_format: str) -> None:
    """Serve until SIGTERM; configured by PostgREST's own PGRST_* variables."""
    logs.configure(style=log_format)
    environ = dict(os.environ)
    if port is not None:
        environ["PGRST_SERVER_PORT"] = str(port)
    with stop_on_signals() as stop:
        serve(IngestConfig.from_env(environ), stop)


@main.group()
def dbt() -> None:
    """Run the models of the cht-pipeline package."""


@dbt.command("run")
@click.option("--full-refresh", is_flag=True, help="Build incremental models anew.")
@environment_option
def dbt_run(environment: str, full_refresh: bool) -> None:
    """Run all models once; exit code 1 when one fails."""
    logs.configure()
    outcome = run_once(_transform_options(environment, full_refresh=full_refresh))
    sys.exit(0 if outcome.succeeded else 1)


@dbt.command("loop")
@log_options
@environment_option
def dbt_loop(environment: str, log_format: str) -> None:
    """Run the models whenever data changed, at most every DATAEMON_INTERVAL seconds, until SIGTERM."""
    logs.configure(style=log_format)
    with stop_on_signals() as stop:
        loop(_transform_options(environment), stop)


@main.command(hidden=True)
@environment_option
@click.option("--without", multiple=True)
def supervise(environment: str, without: tuple[str, ...]) -> None:
    """What `up` runs in the background."""
    logs.configure()
    with stop_on_signals() as stop:
        embedded.supervise(Environment(environment), without=without, home=default_home(), stop=stop)


def show_error(error: ChtSyncError) -> None:
    """Print what failed, where, and what to do next, to standard error."""
    for line in error.message.splitlines():
        click.echo(f"{click.style('error:', fg='red')} {line}", err=True)
    if isinstance(error, ServiceError) and error.log_tail:
        click.echo("Its last words:", err=True)
        for line in error.log_tail:
            click.echo(f"  | {line}", err=True)
    if error.hint:
        click.echo(error.hint, err=True)


def _final_screen(console: Console, state: states.EnvironmentState, home: Path) -> None:
    settings = embedded.recorded_settings(state, home)
    screen.final_screen(console, state, settings, sorted(embedded.NOT_EMBEDDED))
    for problem in status.gather(state, settings)["problems"]:
        console.print(f"! {problem}", style="red")


def _status(home: Path) -> dict[str, Any]:
    state = states.read(home / STATE_FOLDER)
    supervised = state is not None and is_supervised(state)
    if state is None or not (supervised or state.leftovers()):
        return status.nothing_runs()
    found = status.gather(state, embedded.recorded_settings(state, home))
    if not supervised:
        found["problems"].append("the supervisor is gone; end what it left with: cht-sync down")
    return found


def _watch(console: Console, home: Path, stop: threading.Event, ended: Callable[[], bool]) -> None:
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while not stop.is_set() and not ended():
            found = _status(home)
            if found["environment"] is not None:
                live.update(screen.status_view(found))
            stop.wait(1.0)


def _assigned(assignments: tuple[str, ...]) -> dict[str, str]:
    known = {name for name, _variable in declared()}
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or name not in known:
            raise SettingsError([f"--set {name}: no such setting"], hint="The names are in env.template.")
        values[name] = value
    return values


def _reachable_settings(environment: Environment) -> Settings:
    """Where the running environment's services are; else what the settings say."""
    home = default_home()
    state = control.running(home / STATE_FOLDER)
    if state is not None:
        return embedded.recorded_settings(state, home)
    return embedded.load_settings(environment, home=home)


def _starts_couchdb() -> bool:
    state = control.running(default_home() / STATE_FOLDER)
    return state is not None and any(one.name == "couchdb" for one in state.services)


def _transform_options(environment: str, *, full_refresh: bool = False) -> TransformOptions:
    options = transform_options(_reachable_settings(Environment(environment)))
    return dataclasses.replace(options, full_refresh=full_refresh)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def _steady(
    settings: Settings, databases: tuple[str, ...], options: GeneratorOptions, stop: threading.Event
) -> None:
    threads = [
        threading.Thread(
            target=steady,
            args=(
                Client(settings.couchdb_url, settings.couchdb_user, settings.couchdb_password),
                database,
                options,
                stop,
            ),
        )
        for database in databases
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)
