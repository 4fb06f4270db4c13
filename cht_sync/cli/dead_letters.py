"""Dead letters in the operator's hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import click
from psycopg2.extensions import connection as Connection
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cht_sync import logs
from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option, reachable_settings
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.reconcile import letters
from cht_sync.reconcile.databases import chosen
from cht_sync.reconcile.interrupt import interruptible_queries
from cht_sync.reconcile.report import shown
from cht_sync.reconcile.table import told_of
from cht_sync.warehouse.connection import Endpoint, dbt_endpoint, owner_endpoint

SHORTENED = ("document", "revision", "reason")
"""Columns that give way, so that each letter has one line; `show` and the JSON have all."""
WIDTH_OF_A_FILE = 160


@main.group("dead-letters", short_help="Look at documents that could not be stored.")
def dead_letters() -> None:
    """Documents that could not be stored, with the reason. None is ever deleted."""


@dead_letters.command("list")
@click.option("--database", help="Only those of this database.")
@click.option("--all", "closed", is_flag=True, help="Also those that are settled.")
@click.option("--json", "machine_readable", is_flag=True, help="Print JSON.")
@environment_option
def list_letters(database: str | None, closed: bool, machine_readable: bool, environment: str) -> None:
    """List the open dead letters, oldest first."""
    settings = reachable_settings(Environment(environment))
    with _connected(dbt_endpoint(settings)) as connection:
        found = letters.listed(connection, settings.postgres_schema, database, closed=closed)
    if machine_readable:
        click.echo(json.dumps(found, default=datetime.isoformat))
        return
    if not found:
        click.echo("No dead letters.")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("id", "database", "document", "revision", "code", "reason", "at", "closed"):
        table.add_column(heading, no_wrap=heading not in SHORTENED)
    for one in found:
        texts = (one["doc_id"], one["rev"], one["code"], one["reason"])
        table.add_row(
            str(one["id"]),
            one["database"],
            *(Text(shown(text or ""), no_wrap=True, overflow="ellipsis") for text in texts),
            f"{one['at']:%Y-%m-%d %H:%M:%S}",
            one["closed_by"] or "",
        )
    Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE).print(table)


@dead_letters.command("show")
@click.argument("letter", type=int, metavar="ID")
@environment_option
def show_letter(letter: int, environment: str) -> None:
    """Print everything that is known of a dead letter as JSON, with the document as it was received."""
    settings = reachable_settings(Environment(environment))
    with _connected(dbt_endpoint(settings)) as connection:
        found = letters.shown(connection, settings.postgres_schema, letter)
    click.echo(json.dumps(found, indent=2, default=datetime.isoformat))


@dead_letters.command("replay")
@click.argument("ids", type=int, nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="All that are open.")
@click.option("--database", help="With --all: only those of this database.")
@environment_option
def replay_letters(ids: tuple[int, ...], every: bool, database: str | None, environment: str) -> None:
    """Fetch the documents as they are now, store them, and close their dead letters.

    Exit code 1 when one of them could not be stored; the others are.
    """
    if every == bool(ids) or (database and not every):
        raise SettingsError(["name dead letters, or say --all"], hint="See: cht-sync dead-letters list")
    logs.configure(level="warning")
    settings = reachable_settings(Environment(environment))
    if database:
        chosen(settings, [database])
    failed = 0
    with _connected(owner_endpoint(settings)) as connection:
        wanted = ids or letters.open_ids(connection, settings.postgres_schema, database)
        replay = letters.Replay(settings, connection)
        for letter in dict.fromkeys(wanted):
            problem = replay.replay(letter)
            failed += problem is not None
            click.echo(f"{letter}: {problem or 'stored'}")
    if not wanted:
        click.echo("No dead letters.")
    sys.exit(1 if failed else 0)


@dead_letters.command("drop")
@click.argument("ids", type=int, nargs=-1, required=True, metavar="ID...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@environment_option
def drop_letters(ids: tuple[int, ...], yes: bool, environment: str) -> None:
    """Close dead letters whose documents need not be stored.

    They stay where they are, marked as dropped. One whose change is refused again is open again.
    """
    settings = reachable_settings(Environment(environment))
    if not (yes or _agreed(len(set(ids)))):
        click.echo("Nothing was closed.")
        sys.exit(1)
    with _connected(owner_endpoint(settings)) as connection:
        count = letters.drop(connection, settings.postgres_schema, ids)
    click.echo(f"{count} closed, {len(set(ids)) - count} were closed already.")


def _agreed(count: int) -> bool:
    what = (
        "1 dead letter without storing its document"
        if count == 1
        else (f"{count} dead letters without storing their documents")
    )
    try:
        return click.confirm(f"Close {what}?")
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)
        raise SettingsError(
            ["nothing was closed: nobody is there to be asked"], hint="Without a terminal say --yes."
        ) from None


@contextmanager
def _connected(endpoint: Endpoint) -> Iterator[Connection]:
    with interruptible_queries(), told_of("dead letters"), endpoint.connect() as connection:
        yield connection
