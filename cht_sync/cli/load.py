"""The parallel first load."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from cht_sync import logs
from cht_sync.cli.group import INTERRUPTED, main
from cht_sync.cli.options import configure_logs, environment_option, reachable_settings
from cht_sync.cli.progress import Lines
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.load import auto, run
from cht_sync.load.chunks import SIZE
from cht_sync.load.ledger import Progress as LoadProgress
from cht_sync.load.pace import Pace
from cht_sync.reconcile.databases import chosen
from cht_sync.shutdown import stop_on_signals

MOST_WORKERS = 64


@main.command("load", short_help="Load a large database for the first time with several workers.")
@click.argument("database", required=False)
@click.option(
    "--workers",
    "-w",
    type=click.IntRange(1, MOST_WORKERS),
    help="Processes on this machine. The same command on other machines works at the same load. Default: "
    "LOAD_WORKERS, or as many as there are processors where these are fewer.",
)
@click.option(
    "--chunk-size",
    type=click.IntRange(10, 1_000_000),
    default=SIZE,
    show_default=True,
    help="Documents of a chunk, about; of a load that is there already it is its own.",
)
@click.option("--restart", is_flag=True, help="Read everything once more, also where a load was done.")
@click.option(
    "--if-large",
    is_flag=True,
    help="In place of DATABASE: each that has LOAD_FROM_DOCUMENTS documents and few or no rows, and those "
    "whose load was begun. What `up` does in gamma and prod; it waits for servers that are away.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="With --if-large: then wait for loads that others begin, and help with them.",
)
@click.option(
    "--metrics-host",
    default=auto.LOOPBACK,
    show_default=True,
    help="With --serve: where LOAD_METRICS_PORT listens.",
)
@environment_option
def load(
    database: str | None,
    workers: int | None,
    chunk_size: int,
    restart: bool,
    if_large: bool,
    serve: bool,
    metrics_host: str,
    environment: str,
) -> None:
    """Load DATABASE for the first time, in parallel, while the pipeline follows what changes meanwhile.

    The pipeline goes on from the moment in which the load begins: it may run already, or be started
    later. What it writes is newer and stays. Workers share the list of documents in chunks, through
    PostgreSQL alone. Ctrl-C, kill -9 or a server that goes away lose nothing: run the same again, here or
    elsewhere, and the load goes on where it was. Until it has ended, rows are missing, as `cht-sync status`
    says.

    \b
      cht-sync load medic --env prod
      cht-sync load medic --env prod --workers 8
    """
    if if_large == (database is not None) or (if_large and restart) or (serve and not if_large):
        raise SettingsError(
            ["load takes either DATABASE, with --restart where it was loaded before, or --if-large"],
            hint="For example: cht-sync load medic",
        )
    settings = reachable_settings(Environment(environment))
    workers = workers or min(settings.load_workers, os.cpu_count() or 1)
    if database is None:
        configure_logs(None, None, settings)
        with stop_on_signals() as stop:
            if serve:
                auto.serve(
                    settings, workers=workers, chunk_size=chunk_size, stop=stop, metrics_host=metrics_host
                )
            else:
                auto.load_what_is_large(settings, workers=workers, chunk_size=chunk_size, stop=stop)
        return
    logs.configure(level="warning")
    (database,) = chosen(settings, [database])
    begun = run.begin(settings, database, chunk_size=chunk_size, anew=restart)
    if begun.ended:
        click.echo(f"{database} was loaded already. To read everything once more: --restart")
        return
    pace = Pace(begun, time.monotonic())
    with stop_on_signals() as stop, _shown(database, pace) as advance:
        ended = run.run(settings, database, workers=workers, advance=advance, stop=stop)
    if not ended.ended:
        click.echo(
            f"{database}: {ended.documents:,} of about {ended.expected:,} documents are loaded. "
            f"Go on: cht-sync load {database} --env {environment}",
            err=True,
        )
        sys.exit(INTERRUPTED)
    click.echo(
        f"{database}: {ended.documents:,} documents loaded in {ended.chunks:,} chunks, {ended.added:,} added "
        f"afterwards, deletions above all; {_duration(ended.seconds)} in all"
    )
    click.echo(f"Proof: cht-sync verify --database {database} --env {environment}")


@contextmanager
def _shown(database: str, pace: Pace) -> Iterator[Callable[[LoadProgress], None]]:
    """Show how far it is: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        lines = Lines()
        yield lambda progress: lines.tell(
            lambda: f"{database}: {_share(progress)}, {pace.words(progress, time.monotonic())}"
        )
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[words]}"),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task(database, total=None, words="")

        def draw(progress: LoadProgress) -> None:
            total = max(progress.expected, progress.documents)
            words = f"{progress.documents:,} of {total:,}, {pace.words(progress, time.monotonic())}"
            bar.update(task, completed=progress.documents, total=total, words=words)

        yield draw


def _share(progress: LoadProgress) -> str:
    total = max(progress.expected, progress.documents)
    percent = 100 * progress.documents // total if total else 100
    return f"{progress.documents:,} of {total:,} documents ({percent} %)"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
