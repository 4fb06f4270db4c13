"""Rendering configurations and running them."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import click

from cht_sync import logs, render
from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option, reachable_settings
from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.pipeline import sources
from cht_sync.pipeline.monitor.metrics import Registry
from cht_sync.pipeline.monitor.node import node_id
from cht_sync.pipeline.monitor.server import DEFAULT_HOST, DEFAULT_PORTS, ports, serve_monitor
from cht_sync.pipeline.run import run_pipelines
from cht_sync.settings import load
from cht_sync.shutdown import stop_on_signals
from cht_sync.tokens import LONG_LIFE, make_token


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
    settings = reachable_settings(Environment(environment))
    click.echo(make_token(settings.pgrst_jwt_secret, settings.ingest_role, lifetime=LONG_LIFE))


def _ports(_context: click.Context, _option: click.Parameter, text: str) -> range:
    try:
        return ports(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


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
@click.option(
    "--api.enabled",
    "api_enabled",
    type=bool,
    default=True,
    show_default=True,
    help="Whether the monitoring API is served.",
)
@click.option(
    "--api.http.host",
    "api_host",
    default=DEFAULT_HOST,
    show_default=True,
    help="Where the monitoring API listens; it has no login.",
)
@click.option(
    "--api.http.port",
    "api_ports",
    callback=_ports,
    default=f"{DEFAULT_PORTS[0]}-{DEFAULT_PORTS[-1]}",
    show_default=True,
    help="Port of the monitoring API; of a range, the first free one.",
)
def pipeline_run(
    paths: tuple[str, ...],
    text: str | None,
    settings_folder: Path | None,
    data_folder: Path | None,
    test_only: bool,
    level: str,
    style: str,
    api_enabled: bool,
    api_host: str,
    api_ports: range,
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
    registry = Registry(node_id(folder) if api_enabled else None)
    for one in pipelines:
        registry.add(one.pipeline.metrics)
    with contextlib.ExitStack() as serving, stop_on_signals() as stop:
        if api_enabled:
            serving.enter_context(serve_monitor(registry, host=api_host, ports=api_ports))
        run_pipelines(pipelines, stop)
