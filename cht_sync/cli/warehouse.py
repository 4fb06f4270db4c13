"""What lives in PostgreSQL."""

from __future__ import annotations

import click

from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option, reachable_settings
from cht_sync.environments import Environment
from cht_sync.runtime import postgres
from cht_sync.warehouse import schema


@main.command("init-db", short_help="Create or upgrade the schema in PostgreSQL.")
@environment_option
def init_db(environment: str) -> None:
    """Create or upgrade everything that cht-sync keeps in PostgreSQL; may be repeated at any time."""
    settings = reachable_settings(Environment(environment))
    schema.initialise(settings, psql_folder=postgres.binaries_if_installed())
    click.echo(f"{settings.postgres_db} on {settings.postgres_host}:{settings.postgres_port} is up to date.")
