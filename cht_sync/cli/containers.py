"""What runs once in containers before the services start; people need none of it."""

from __future__ import annotations

from pathlib import Path

import click

from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option, reachable_settings
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.runtime.containers import couchdb_setup, handed_out
from cht_sync.runtime.containers.inside import settings_of_project


@main.command("hand-out-settings", hidden=True)
@environment_option
@click.option("--without", multiple=True, envvar="CHT_SYNC_WITHOUT", help="Services that are left out.")
@click.option("--project", type=click.Path(path_type=Path), default="/project", help="Where .env is.")
@click.option("--output", type=click.Path(path_type=Path), default="/handed-out")
def hand_out_settings(environment: str, without: tuple[str, ...], project: Path, output: Path) -> None:
    """Check all settings and give each service its own, as files in a folder a service."""
    try:
        settings = settings_of_project(Environment(environment), project, without)
    except SettingsError:
        # Compose goes on after a service that it may do without; so what comes next must have nothing.
        handed_out.take_back(output, ("render-config", "init-db"))
        raise
    found = handed_out.handed_out(settings)
    handed_out.write(found, output)
    click.echo(f"Settings for {environment} are good; handed to {', '.join(found)}")


@main.command("couchdb-setup", hidden=True)
@environment_option
def setup_couchdb(environment: str) -> None:
    """Make the databases of COUCHDB_DBS, and CouchDB's own, where they are missing."""
    for line in couchdb_setup.set_up(reachable_settings(Environment(environment))):
        click.echo(line)
