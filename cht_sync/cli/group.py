"""The group of all commands, and how errors are shown."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import click

from cht_sync import __version__, logs
from cht_sync.cli.plain import allow_any_encoding
from cht_sync.errors import ChtSyncError, ServiceError, sentences
from cht_sync.settings import PROJECT_DIR

INTERRUPTED = 130

log = logging.getLogger(__name__)

MODULES = {
    "containers": ("hand-out-settings", "couchdb-setup"),
    "dead_letters": ("dead-letters",),
    "docker": ("gather",),
    "doctor": ("doctor", "examine-inside"),
    "engine": ("pipeline",),
    "environment": ("up", "down", "status", "logs", "init", "supervise"),
    "forms": ("forms",),
    "kubernetes": ("kubernetes-settings",),
    "load": ("load",),
    "migrate": ("migrate",),
    "pipeline": ("render-config", "token"),
    "resync": ("resync",),
    "services": ("generate", "ingest"),
    "superset": ("superset",),
    "swarm": ("swarm-stack",),
    "transform": ("dbt",),
    "verify": ("verify",),
    "warehouse": ("init-db", "accept-server"),
}
"""The commands of each module."""
MODULE_OF = {command: module for module, commands in MODULES.items() for command in commands}


class Commands(click.Group):
    """Shows our errors as one line and a hint, never as a traceback, and gives their exit code.

    A command's module is imported when the command is called: the engine starts without what the runtime
    needs, and holds less memory.
    """

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in MODULE_OF:
            import_module(f"cht_sync.cli.{MODULE_OF[cmd_name]}")
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        self.import_all()
        return super().list_commands(ctx)

    def import_all(self) -> None:
        """Have all commands at hand."""
        for module in MODULES:
            import_module(f"cht_sync.cli.{module}")

    def main(self, *arguments: Any, **options: Any) -> Any:
        allow_any_encoding()
        return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ChtSyncError as error:
            show_error(error)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            raise  # click ends quietly: the reader of our output has gone
        except OSError as error:
            # What the machine refuses: a full disk, a file of another user.
            parts = [str(part) for part in (error.filename, error.strerror) if part]
            show_error(ChtSyncError(": ".join(parts) or str(error)))
            ctx.exit(1)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cht-sync")
@click.option(
    "--project-dir",
    type=click.Path(exists=True, file_okay=False),
    envvar=PROJECT_DIR,
    help="The checkout of cht-sync. Default: where it is installed, else upwards from the current folder.",
)
def main(project_dir: str | None) -> None:
    """Keeps PostgreSQL equal to the CouchDB of a Community Health Toolkit deployment.

    Start with `cht-sync up --env local`, look with `cht-sync status`, end with `cht-sync down`. Settings
    come from the environment or from .env (see env.template).
    """


def show_error(error: ChtSyncError) -> None:
    """Print what failed, where, and what to do next, to standard error; a log line where those are JSON."""
    if logs.are_json():
        text = sentences(error)
        log.critical("%s", text, extra=logs.fields(event="process_failed", error=text))
        return
    for line in error.message.splitlines():
        click.echo(f"{click.style('error:', fg='red')} {line}", err=True)
    if isinstance(error, ServiceError) and error.log_tail:
        click.echo("Its last words:", err=True)
        for line in error.log_tail:
            click.echo(f"  | {line}", err=True)
    if error.hint:
        click.echo(error.hint, err=True)
