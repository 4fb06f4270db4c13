"""Running and trying configurations with our own engine, with Logstash's flags and exit codes."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from cht_sync import __version__, logs
from cht_sync.cli.group import main
from cht_sync.errors import ChtSyncError, ConfigError
from cht_sync.pipeline import interpreter
from cht_sync.pipeline.config.problems import flat
from cht_sync.pipeline.data_lock import only_user_of
from cht_sync.pipeline.monitor.metrics import Registry
from cht_sync.pipeline.monitor.node import Node, node_id
from cht_sync.pipeline.monitor.server import serve_monitor
from cht_sync.pipeline.named_pipeline import NamedPipeline
from cht_sync.pipeline.reload import Reloading
from cht_sync.pipeline.run import run_pipelines
from cht_sync.pipeline.running import described
from cht_sync.pipeline.startup import Startup, prepare
from cht_sync.pipeline.trial import filtered
from cht_sync.shutdown import stop_on_signals

FAILED = 1
"""Logstash's exit code for everything that is not in order."""

_JSON = f"{__name__}.json"
"""Says in click's context whether log lines are JSON."""

log = logging.getLogger(__name__)

Command = TypeVar("Command", bound=Callable[..., None])


class EngineCommand(click.Command):
    """Wrong usage ends with 1, as in Logstash. With --log.format json errors are log lines, too."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **options)
        except click.UsageError as error:
            error.show()
            sys.exit(FAILED)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ChtSyncError, OSError) as error:
            if not ctx.meta.get(_JSON):
                raise
            problems = flat(error) if isinstance(error, ConfigError) else (error,)
            for one in problems:
                said = described(one)
                log.critical("%s", said, extra=logs.fields(event="process_failed", error=said))
            ctx.exit(error.exit_code if isinstance(error, ChtSyncError) else FAILED)


def _setting(*names: str, metavar: str | None = None, **options: Any) -> Callable[[Command], Command]:
    """An option that is a setting; its parameter is named as that, with _ for the dots."""
    long = next(name for name in names if name.startswith("--"))
    return click.option(*names, long[2:].replace(".", "_"), metavar=metavar, **options)


def _together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _key_and_value(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is no KEY=VALUE")
        found[name] = value
    return found


configuration_options = _together(
    _setting(
        "-f",
        "--path.config",
        multiple=True,
        help="Configuration: a file, folder or glob; may be repeated.",
    ),
    _setting(
        "-e", "--config.string", help="Configuration as text; reads stdin and prints where it does not say."
    ),
    click.option(
        "--path.settings",
        "settings_folder",
        type=click.Path(path_type=Path),
        envvar="LS_SETTINGS_DIR",
        show_envvar=True,
        help="Folder of logstash.yml and pipelines.yml.",
    ),
    click.option(
        "-S",
        "--setting",
        "more_settings",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_key_and_value,
        help="Any setting of logstash.yml; may be repeated.",
    ),
    click.option(
        "--enable-python-filter",
        "python_filter",
        is_flag=True,
        help="Allow the filter python (not in Logstash).",
    ),
)

run_options = _together(
    _setting("--path.data", metavar="PATH", help="Folder for positions and dead letters. Default: data."),
    _setting(
        "--path.dead_letter_queue",
        metavar="PATH",
        help="Folder for dead letters. Default: dead_letter_queue in path.data.",
    ),
    _setting(
        "-t",
        "--config.test_and_exit",
        is_flag=True,
        default=None,
        help="Check the configuration and exit.",
    ),
    _setting(
        "-r",
        "--config.reload.automatic",
        is_flag=True,
        default=None,
        help="Look for changes of the configuration, and reload what has changed.",
    ),
    _setting("--config.reload.interval", metavar="TIME", help="How often, with its unit.  [default: 3s]"),
    _setting("--pipeline.id", help="Name of the pipeline of -f or -e.  [default: main]"),
    _setting(
        "-w",
        "--pipeline.workers",
        metavar="N",
        help="No effect: events of an input go through the filters in one thread, in order.",
    ),
    _setting(
        "--pipeline.ordered",
        metavar="[auto|true|false]",
        help="Accepted, but for true with several workers: events are always in order.",
    ),
    _setting(
        "-b",
        "--pipeline.batch.size",
        metavar="N",
        help="Most events in a batch. Default: what the inputs have.",
    ),
    _setting(
        "-u",
        "--pipeline.batch.delay",
        metavar="MS",
        help="Milliseconds to wait for a batch to fill. Default: none.",
    ),
    _setting(
        "--pipeline.ecs_compatibility",
        metavar="[disabled|v1|v8]",
        help="Names of added fields, where a plugin does not say it.  [default: v8]",
    ),
    _setting("-n", "--node.name", help="Name in the monitoring API. Default: the host's."),
    _setting(
        "--log.level",
        type=click.Choice(list(logs.LEVELS)),
        help="Least level of log lines.  [default: info]",
    ),
    _setting(
        "--log.format", type=click.Choice(["plain", "json"]), help="Form of log lines.  [default: plain]"
    ),
    _setting(
        "--api.enabled", metavar="BOOLEAN", help="Whether the monitoring API is served.  [default: true]"
    ),
    _setting(
        "--api.http.host",
        help="Where the monitoring API listens; it has no login.  [default: 127.0.0.1]",
    ),
    _setting(
        "--api.http.port",
        help="Port of the monitoring API; of a range, the first free one.  [default: 9600-9700]",
    ),
)

flags_without_effect = _together(
    _setting("-l", "--path.logs", hidden=True),
    _setting("-p", "--path.plugins", multiple=True, hidden=True),
    _setting("-i", "--interactive", hidden=True),
    _setting("--config.debug", is_flag=True, default=None, hidden=True),
    _setting("--pipeline.unsafe_shutdown", is_flag=True, default=None, hidden=True),
    _setting("--log.format.json.fix_duplicate_message_fields", hidden=True),
)
"""Those of Logstash that a start script may have; they are named in one warning."""


@main.group()
def pipeline() -> None:
    """Run Logstash configurations with our own engine."""


@pipeline.command("run", cls=EngineCommand)
@configuration_options
@run_options
@flags_without_effect
@click.version_option(__version__, "-V", "--version", prog_name="cht-sync")
def pipeline_run(**options: Any) -> None:
    """Run pipelines until they end or SIGTERM or Ctrl-C comes; both drain, a second one abandons.

    What pipelines.yml says of a pipeline is stronger than flags, those are stronger than logstash.yml. SIGHUP
    reloads what has changed.
    Exit code 0 when all ended in order, 1 for a configuration that is refused or a pipeline that failed.
    """
    start = _start(options)
    found = start.find()
    start.warn(found)
    pipelines = start.loader.load_all(found)
    if start.settings["config.test_and_exit"]:
        click.echo("Configuration OK")
        return
    with only_user_of(start.data_folder):
        try:
            _run(start, pipelines)
        except KeyboardInterrupt:
            said = "abandoned; what was not acknowledged will be read again"
            if click.get_current_context().meta[_JSON]:
                log.warning(said)
            else:
                click.echo(said, err=True)
            sys.exit(FAILED)


@pipeline.command("test", cls=EngineCommand)
@configuration_options
@click.option("--pipeline.id", "pipeline_id", help="Which pipeline, where there are several.")
@click.option(
    "--events",
    "events_file",
    type=click.File("rb"),
    metavar="FILE",
    help="Events to send through the filters, a JSON object a line; - for standard input.",
)
def pipeline_test(pipeline_id: str | None, events_file: Any, **options: Any) -> None:
    """Check a configuration; with --events, print what its filters make of events.

    Inputs and outputs are made but never used: nothing is connected to, nothing is sent. Exit code 0 when the
    configuration is understood, 1 when it is refused.
    """
    start = _start({**options, "pipeline_id": pipeline_id if _is_single(options) else None})
    found = start.find()
    start.warn(found)
    pipelines = replace(start.loader, keeps_letters=False).load_all(found)
    if events_file is None:
        click.echo("Configuration OK")
        return
    chosen = [one for one in pipelines if pipeline_id in (None, one.id)]
    if len(chosen) != 1:
        known = ", ".join(one.id for one in pipelines)
        raise ChtSyncError(f"--events needs one pipeline: name it with --pipeline.id ({known})")
    for line in filtered(chosen[0].pipeline, events_file, events_file.name):
        click.echo(line)


def _is_single(options: dict[str, Any]) -> bool:
    return bool(options["path_config"]) or options["config_string"] is not None


def _start(options: dict[str, Any]) -> Startup:
    folder, python_filter = options.pop("settings_folder"), options.pop("python_filter")
    flags = options.pop("more_settings")
    for name, value in options.items():
        if value not in (None, ()):
            flags[_SETTINGS_OF_OPTIONS[name]] = value
    # What is wrong with the settings is said in the form that the flag asks for.
    _log("info", flags.get("log.format"))
    start = prepare(flags, os.environ, folder, python_filter=python_filter)
    _log(start.settings["log.level"], start.settings["log.format"])
    return start


def _log(level: str, form: str | None) -> None:
    click.get_current_context().meta[_JSON] = form == "json"
    logs.configure(level=level, style="json" if form == "json" else "text")


def _run(start: Startup, pipelines: list[NamedPipeline]) -> None:
    settings = start.settings
    registry = Registry(node_id(start.data_folder) if settings["api.enabled"] else None)
    for one in pipelines:
        registry.add(one.pipeline.metrics)
    node = Node("", name=settings["node.name"])
    reload = threading.Event()
    interval = settings["config.reload.interval"] if settings["config.reload.automatic"] else None
    reloading = Reloading(start.find, start.loader, registry, reload, interval)
    with contextlib.ExitStack() as serving, stop_on_signals(reload) as stop:
        if settings["api.enabled"]:
            host, ports = settings["api.http.host"], settings["api.http.port"]
            serving.enter_context(
                serve_monitor(registry, host=host, ports=ports, node=node, data_folder=start.data_folder)
            )
        interpreter.tune()
        try:
            run_pipelines(pipelines, stop, reloading)
        except (ChtSyncError, OSError):
            raise
        except Exception as error:
            raise ChtSyncError(f"a pipeline failed: {described(error)}") from error


_SETTINGS_OF_OPTIONS = {
    option.name: option.opts[-1].removeprefix("--")
    for option in (*pipeline_run.params, *pipeline_test.params)
    if isinstance(option, click.Option) and option.name is not None
}
