"""The group of all commands, and how errors are shown."""

from __future__ import annotations

from typing import Any

import click

from cht_sync import __version__
from cht_sync.errors import ChtSyncError, ServiceError
from cht_sync.settings import PROJECT_DIR

INTERRUPTED = 130


class Commands(click.Group):
    """Shows our errors as one line and a hint, never as a traceback, and gives their exit code."""

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
    """Print what failed, where, and what to do next, to standard error."""
    for line in error.message.splitlines():
        click.echo(f"{click.style('error:', fg='red')} {line}", err=True)
    if isinstance(error, ServiceError) and error.log_tail:
        click.echo("Its last words:", err=True)
        for line in error.log_tail:
            click.echo(f"  | {line}", err=True)
    if error.hint:
        click.echo(error.hint, err=True)
