"""Reading documents once more, on demand."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence

import click

from cht_sync import logs
from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option, reachable_settings, wait_option
from cht_sync.cli.progress import bar
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.reconcile.databases import chosen
from cht_sync.reconcile.interrupt import interruptible_queries
from cht_sync.reconcile.resync import Resync
from cht_sync.reconcile.resync import resync as read_again
from cht_sync.reconcile.resync_report import advice, as_json, as_lines, interrupted
from cht_sync.settings import Settings

STANDARD_INPUT = "-"


@main.command("resync", short_help="Read a database, or some documents, from CouchDB once more.")
@click.argument("database")
@click.option(
    "--doc",
    "ids",
    multiple=True,
    metavar="ID",
    help="Only the document with this id; may be repeated. -: read ids from standard input, one a line. "
    "Default: the whole database.",
)
@click.option("--json", "machine_readable", is_flag=True, help="Print JSON.")
@wait_option
@environment_option
def resync(
    database: str, ids: tuple[str, ...], machine_readable: bool, wait: float, environment: str
) -> None:
    """Read DATABASE, or some of its documents, from CouchDB once more and write what CouchDB holds now.

    Unlike verify --repair it compares contents, not revisions alone: it mends rows that somebody changed in
    PostgreSQL, and those that were written before a setting of redaction. Rows that are right are not
    touched. The pipeline may go on meanwhile: what it writes is newer and stays. Rows of documents that
    CouchDB does not know become tombstones. It may be stopped and run again at any time.

    Exit code 0: all is as CouchDB has it; 1: something is not, or a document that was named is unknown, or
    it could not be done.

    \b
      cht-sync resync medic
      cht-sync resync medic --doc 5d0c2f1e-person --doc _design/medic
      cht-sync resync medic --doc - < ids.txt
    """
    logs.configure(level="warning")
    settings = reachable_settings(Environment(environment))
    (database,) = chosen(settings, [database])
    wanted = list(_wanted(ids))
    result = Resync(database)
    try:
        with interruptible_queries():
            _watched(settings, result, wanted, wait)
    except KeyboardInterrupt:
        click.echo(interrupted(result), err=True)
        raise
    if machine_readable:
        click.echo(json.dumps(as_json(result)))
    else:
        for line in [*as_lines(result), *advice(result)]:
            click.echo(line)
    sys.exit(0 if result.done else 1)


def _wanted(ids: Sequence[str]) -> Iterator[str]:
    """The documents named. Raises SettingsError where that is none: it must not mean all."""
    for one in ids:
        named = [one]
        if one == STANDARD_INPUT:
            if sys.stdin is None:
                raise SettingsError(["standard input is closed; --doc - reads ids from it, one a line"])
            with click.open_file(STANDARD_INPUT, errors="replace") as lines:
                named = [line.rstrip("\r\n") for line in lines if line.strip()]
        if not any(named):
            where = "standard input" if one == STANDARD_INPUT else "--doc"
            raise SettingsError([f"{where} names no document; for example --doc 5d0c2f1e-person"])
        yield from named


def _watched(settings: Settings, result: Resync, ids: Sequence[str], wait: float) -> None:
    with bar() as progress:
        task = progress.add_task(result.database, total=None)
        read_again(
            settings,
            result,
            ids,
            wait,
            lambda done, total: progress.update(task, completed=done, total=max(done, total)),
        )
