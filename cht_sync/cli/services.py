"""Single services: the data generator, the ingest server."""

from __future__ import annotations

import logging
import os
import threading
from functools import partial
from pathlib import Path

import click

from cht_sync import logs
from cht_sync.cli.group import main
from cht_sync.cli.options import configure_logs, log_options, reachable_settings
from cht_sync.cli.progress import bar
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.generator.contents import content_of
from cht_sync.generator.couchdb import Client
from cht_sync.generator.plan import GeneratorOptions
from cht_sync.generator.run import burst
from cht_sync.generator.steady import steady
from cht_sync.ingest.config import IngestConfig
from cht_sync.ingest.server import serve
from cht_sync.runtime import control
from cht_sync.runtime.containers.handed_out import COUCHDB
from cht_sync.runtime.containers.inside import handed_out_settings
from cht_sync.settings import STATE_FOLDER, Settings, default_home
from cht_sync.shutdown import stop_on_signals

log = logging.getLogger(__name__)


@main.command(short_help="Write documents of fictional people.")
@click.option("--docs", default=0, show_default=True, help="Documents of the CHT to create at once.")
@click.option("--rate", type=float, help="Changes of them per second afterwards, until Ctrl-C.")
@click.option("--seed", default=1, show_default=True, help="Same seed, same documents.")
@click.option(
    "--updates", default=0.1, show_default=True, help="Share of documents that are edited afterwards."
)
@click.option(
    "--deletes", default=0.02, show_default=True, help="Share of documents that are deleted afterwards."
)
@click.option(
    "--contact-types", is_flag=True, help="Contacts of configured types, and the settings that define them."
)
@click.option("--database", "databases", multiple=True, help="Where; default: every database of COUCHDB_DBS.")
@click.option("--remote", is_flag=True, help="Also into a CouchDB that cht-sync did not start.")
@click.option(
    "--alive", type=click.Path(path_type=Path), hidden=True, help="Touched with each change: health."
)
@log_options
def generate(
    docs: int,
    rate: float | None,
    seed: int,
    updates: float,
    deletes: float,
    contact_types: bool,
    databases: tuple[str, ...],
    remote: bool,
    alive: Path | None,
    log_format: str | None,
    log_level: str | None,
) -> None:
    """Write realistic CHT documents of fictional people: places, persons and their reports.

    A database gets what belongs to its name beside those documents: _users the users, medic-sentinel what
    Sentinel knows of each document, medic-users-meta telemetry and feedback, any other those documents.

    The same seed gives the same documents; what is there already is left alone. The server is that of
    the running environment, else that of COUCHDB_HOST; one that cht-sync did not start only with --remote.
    """
    configure_logs(log_format, log_level)
    settings = reachable_settings(Environment.LOCAL)
    configure_logs(log_format, log_level, settings)
    if not remote and not _starts_couchdb():
        raise SettingsError(
            [f"{settings.couchdb_url} was not started by cht-sync and may lead to a real CouchDB"],
            hint="If it is for trying things, say so with --remote.",
        )
    options = GeneratorOptions(
        docs=docs,
        rate=rate,
        seed=seed,
        updates=updates,
        deletes=deletes,
        configured_types=contact_types,
    )
    for database in databases or settings.couchdb_dbs:
        client = _client(settings)
        with bar() as progress:
            count = content_of(database).count(docs)
            task = progress.add_task(database, total=count + round(count * updates) + round(count * deletes))
            summary = burst(client, database, options, partial(progress.advance, task))
        client.close()
        said = (
            f"{database}: {summary.created} created, {summary.updated} updated, {summary.deleted} deleted, "
            f"{summary.skipped} there already"
        )
        if logs.are_json():
            changes = summary.created + summary.updated + summary.deleted
            extra = logs.fields(event="documents_generated", database=database, documents=changes)
            log.info("%s", said, extra=extra)
        else:
            click.echo(said)
    if rate is not None:
        with stop_on_signals() as stop:
            _steady(settings, databases or settings.couchdb_dbs, options, stop, alive)


@main.group(short_help="Serve PostgREST's protocol without PostgREST.")
def ingest() -> None:
    """The embedded ingest server, which speaks PostgREST's protocol."""


@ingest.command("serve")
@click.option("--port", type=int, help="Default: PGRST_SERVER_PORT, else 3000.")
@log_options
def ingest_serve(port: int | None, log_format: str | None, log_level: str | None) -> None:
    """Serve until SIGTERM; configured by PostgREST's own PGRST_* variables."""
    configure_logs(log_format, log_level)
    environ = dict(os.environ)
    if port is not None:
        environ["PGRST_SERVER_PORT"] = str(port)
    with stop_on_signals() as stop:
        serve(IngestConfig.from_env(environ), stop)


def _client(settings: Settings) -> Client:
    user, password = settings.couchdb_user, settings.couchdb_password
    return Client(settings.couchdb_url, user, password, settings.couchdb_ca_file)


def _starts_couchdb() -> bool:
    if (handed_out := handed_out_settings()) is not None:
        # Somebody else's may have the same name.
        return handed_out.environment is Environment.LOCAL and handed_out.couchdb_host == COUCHDB
    state = control.running(default_home() / STATE_FOLDER)
    return state is not None and any(one.name == "couchdb" for one in state.services)


def _steady(
    settings: Settings,
    databases: tuple[str, ...],
    options: GeneratorOptions,
    stop: threading.Event,
    alive: Path | None,
) -> None:
    def written(changes: int) -> None:
        if alive is not None and changes:
            alive.touch()

    threads = [
        threading.Thread(
            target=steady,
            args=(
                _client(settings),
                database,
                options,
                stop,
                written,
            ),
        )
        for database in databases
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)
