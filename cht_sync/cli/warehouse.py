"""What lives in PostgreSQL."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

import click

from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option, reachable_settings, settings_from_here
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.reconcile.databases import chosen
from cht_sync.runtime import postgres
from cht_sync.runtime.containers.handed_out import METADATA_PASSWORD
from cht_sync.settings import Settings
from cht_sync.warehouse import administrator, schema
from cht_sync.warehouse.connection import owner_endpoint
from cht_sync.warehouse.server_change import accept_server


@main.command("init-db", short_help="Create or upgrade the schema in PostgreSQL.")
@click.option(
    "--admin-url",
    metavar="URL|-",
    help="First let an administrator make the roles and the database, where POSTGRES_USER may not. Without a "
    "password in the address it is taken from PGPASSWORD, or asked for. -: read the address from standard "
    "input. It is kept nowhere.",
)
@click.option("--print-sql", is_flag=True, help="Print that part for psql, without passwords; run nothing.")
@environment_option
def init_db(environment: str, admin_url: str | None, print_sql: bool) -> None:
    """Create or upgrade everything that cht-sync keeps in PostgreSQL; may be repeated at any time.

    Says what it did. Nothing is deleted but older revisions of a document in a layout of 2023.

    Example: cht-sync init-db --env prod --print-sql > for-an-administrator.sql
    """
    wanted = Environment(environment)
    if print_sql:
        if admin_url is not None:
            raise SettingsError(["--print-sql runs nothing: leave out --admin-url"])
        click.echo(administrator.as_sql(_external(wanted, needs=("POSTGRES_PASSWORD",))), nl=False)
        return
    if admin_url is not None:
        settings = _external(wanted)
        administrator.run(settings, _administrator(admin_url))
        click.echo(f"Roles and the database {settings.postgres_db} are as init-db needs them.")
    settings = reachable_settings(wanted, words=("init-db",))
    done = schema.initialise(
        settings,
        psql_folder=postgres.binaries_if_installed(),
        superset_metadata_password=os.environ.get(METADATA_PASSWORD, ""),
    )
    for line in done:
        click.echo(line)
    click.echo(f"{settings.postgres_db} on {settings.postgres_host}:{settings.postgres_port} is up to date.")


def _external(environment: Environment, *, needs: Collection[str] | None = None) -> Settings:
    """The settings of an environment whose PostgreSQL is somebody else's. Raises SettingsError."""
    settings = settings_from_here(environment, needs=needs)
    if settings.environment is Environment.LOCAL:
        raise SettingsError(["local has a PostgreSQL of its own; name another environment: --env prod"])
    if not settings.given.get("POSTGRES_HOST"):
        raise SettingsError(["POSTGRES_HOST is required; for example POSTGRES_HOST=postgres.example.org"])
    return settings


def _administrator(given: str) -> dict[str, str]:
    """Who that is, with the password where one is told. Raises SettingsError."""
    terminal = sys.stdin.isatty()
    if given == "-":
        line = click.prompt("Address", hide_input=True, err=True) if terminal else sys.stdin.readline()
        address = administrator.parsed(line.strip())
    else:
        address = administrator.parsed(given)
        if {"password", "sslpassword"} & {*address}:
            raise SettingsError(
                ["--admin-url holds a password, which others can read among this machine's processes"],
                hint="Leave the password out: it is asked for, or taken from PGPASSWORD. Or give the address "
                "on standard input: --admin-url -",
            )
    # Taken away, so that nothing that is started afterwards has it.
    if (password := os.environ.pop("PGPASSWORD", "")) and "password" not in address:
        address["password"] = password
    if terminal and "password" not in address:
        asked = f"Password of {address['user']}"
        if password := click.prompt(asked, hide_input=True, default="", show_default=False, err=True):
            address["password"] = password
    return address


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
