"""The dashboards that come with cht-sync, as files and in Superset."""

from __future__ import annotations

from pathlib import Path

import click

from cht_sync.cli.docker import installation
from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option, reachable_settings
from cht_sync.environments import Environment
from cht_sync.runtime.containers.superset import export_assets, import_assets
from cht_sync.runtime.superset import Superset


@main.group(short_help="Bring dashboards into Superset, or write them to files.")
def superset() -> None:
    """The dashboards that come with cht-sync."""


@superset.command("import")
@click.option("--overwrite", is_flag=True, help="Also what was changed or deleted in Superset.")
@environment_option
def import_(environment: str, overwrite: bool) -> None:
    """Bring the dashboards of superset/assets into Superset, as every start does.

    What is new is made, what is untouched follows its file. What somebody changed in Superset stays as it
    is, and what somebody deleted stays away, unless --overwrite.
    """
    containers = installation()
    if containers is not None:
        lines = import_assets(containers, overwrite=overwrite)
    else:
        service = Superset(reachable_settings(Environment(environment)))
        lines = service.provision("import", *(["--overwrite"] if overwrite else []))
    click.echo("\n".join(lines) if lines else "Everything is as the files say, or as somebody changed it.")


@superset.command()
@click.option(
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where to write; as superset/assets is laid out.",
)
@environment_option
def export(environment: str, folder: Path) -> None:
    """Write datasets, charts and dashboards as they are in Superset now, as YAML files."""
    folder.mkdir(parents=True, exist_ok=True)
    containers = installation()
    if containers is not None:
        lines = export_assets(containers, folder)
    else:
        service = Superset(reachable_settings(Environment(environment)))
        lines = service.provision("export", str(folder.resolve()))
    for line in lines:
        click.echo(line)
