"""Rendering configurations, and what Elastic's Logstash needs to run them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cht_sync import render
from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option, reachable_settings
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.runtime.containers.inside import handed_out_settings
from cht_sync.settings import load
from cht_sync.tokens import LONG_LIFE, make_token


@main.command("render-config", short_help="Render the Logstash configuration.")
@environment_option
@click.option("--engine", type=click.Choice(["native", "logstash"]), help="Default: PIPELINE_ENGINE.")
@click.option("--output", default="-", show_default=True, help="A folder, or - to print.")
@click.option(
    "--check",
    is_flag=True,
    help="Only say which files in the folder are not up to date, and how they differ.",
)
def render_config(environment: str, engine: str | None, output: str, check: bool) -> None:
    """Render the Logstash configuration: one pipeline a database, and pipelines.yml.

    Secrets stay ${VARIABLES}. The files run with `cht-sync pipeline run --path.settings DIR`, or with
    Elastic's Logstash 8 when rendered with --engine logstash. Nothing needs to be reachable.
    """
    settings = handed_out_settings() or load(Environment(environment))
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
        for name in stale:
            click.echo(render.unified_diff(files, Path(output), name), nl=False)
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
    settings = reachable_settings(Environment(environment))
    click.echo(make_token(settings.pgrst_jwt_secret, settings.ingest_role, lifetime=LONG_LIFE))
