"""What lives in PostgreSQL."""

from __future__ import annotations

import os

import click

from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option, reachable_settings
from cht_sync.environments import Environment
from cht_sync.reconcile.databases import chosen
from cht_sync.runtime import postgres
from cht_sync.runtime.containers.handed_out import METADATA_PASSWORD
from cht_sync.warehouse import schema
from cht_sync.warehouse.connection import owner_endpoint
from cht_sync.warehouse.server_change import accept_server


@main.command("init-db", short_help="Create or upgrade the schema in PostgreSQL.")
@environment_option
def init_db(environment: str) -> None:
    """Create or upgrade everything that cht-sync keeps in PostgreSQL; may be repeated at any time.

    Says what it did. Nothing is deleted but older revisions of a document in a layout of 2023.
    """
    settings = reachable_settings(Environment(environment))
    done = schema.initialise(
        settings,
        psql_folder=postgres.binaries_if_installed(),
        superset_metadata_password=os.environ.get(METADATA_PASSWORD, ""),
    )
    for line in done:
        click.echo(line)
    click.echo(f"{settings.postgres_db} on {settings.postgres_host}:{settings.postgres_port} is up to date.")


@main.command("accept-server", short_help="Go on although CouchDB is another server.")
@click.option(
    "--database",
    "databases",
    multiple=True,
    help="Whose; may be repeated. Default: all that wait for your word.",
)
@click.option(
    "--from-start/--continue",
    "from_start",
    default=True,
    show_default=True,
    help="Read everything again, which is always right; or go on from the saved position, which is right "
    "only where the server has the same databases with the same history.",
)
@environment_option
def accept(databases: tuple[str, ...], from_start: bool, environment: str) -> None:
    """Let a pipeline go on that has stopped reading because its CouchDB is another server than before.

    Read from the start, documents that are in PostgreSQL already change nothing, and rows that the new server
    does not have become tombstones. Continue after a move of CouchDB's data folder to another machine.
    """
    settings = reachable_settings(Environment(environment))
    if databases:
        chosen(settings, databases)
    sources = accept_server(
        owner_endpoint(settings), settings.postgres_schema, databases=databases, from_start=from_start
    )
    how = "is read from the start" if from_start else "goes on from its position"
    for source in sources:
        click.echo(f"{source} {how}, within a minute where its pipeline runs.")
    if not sources:
        click.echo("No pipeline waits for your word; nothing was changed.")
