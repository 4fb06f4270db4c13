"""Dead letters in the operator's hand."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from cht_sync.cli.group import main
from cht_sync.cli.letter_places import (
    connected,
    letter_name,
    only_in_files,
    place_of,
    place_options,
    settings_with_table,
    table_of,
)
from cht_sync.cli.letter_words import everything, print_letters, wants_to_drop
from cht_sync.cli.replay_letters import replay_letters
from cht_sync.pipeline.document import encode_json
from cht_sync.reconcile import filed, letters
from cht_sync.warehouse.connection import dbt_endpoint, owner_endpoint

LONG_AGO = datetime.min.replace(tzinfo=UTC)


@main.group("dead-letters", short_help="Look at documents that could not be stored.")
def dead_letters() -> None:
    """Documents and events that could not be delivered, with the reason.

    Those that PostgreSQL refused are in its table v1.dead_letters, and have a number; none is ever deleted
    there. Those of other outputs are lines of files in the engine's data folder, and are called PIPELINE:ID.
    """


@dead_letters.command("list")
@click.option("--database", help="Only those of this database, or of the pipeline of this name.")
@click.option("--all", "closed", is_flag=True, help="Also those that are settled.")
@click.option("--json", "machine_readable", is_flag=True, help="Print JSON.")
@place_options
def list_letters(database: str | None, closed: bool, machine_readable: bool, **options: Any) -> None:
    """List the open dead letters, oldest first.

    A letter that is in the table and in a file is listed once, with its number. Exit code 1 when the
    environment's table could not be looked at; what the files have is listed.
    """
    place = place_of(**options)
    found: list[letters.Letter] = []
    in_files = [one for one in place.files.letters() if one.is_of(database)]
    with ExitStack() as stack:
        connection = table_of(place, stack)
        if connection is not None and place.settings is not None:
            schema = place.settings.postgres_schema
            of_table = letters.listed(connection, schema, database, closed=closed)
            found += [{**one, "where": "table"} for one in of_table]
            in_files = only_in_files(in_files, connection, schema)
    found = sorted([*found, *(one.as_row() for one in in_files)], key=lambda one: one["at"] or LONG_AGO)
    if machine_readable:
        click.echo(json.dumps(found, default=datetime.isoformat))
    elif found:
        print_letters(found)
    else:
        click.echo("No dead letters." if connection is not None else "No dead letters in files.")
    sys.exit(1 if connection is None and place.settings is not None else 0)


@dead_letters.command("show")
@click.argument("letter", type=letter_name, metavar="ID")
@place_options
def show_letter(letter: int | str, **options: Any) -> None:
    """Print everything that is known of a dead letter as JSON, with the document as it was received.

    Of a letter in a file that is the whole event, with @metadata, as the output was to deliver it, and what
    the server answered.
    """
    place = place_of(**options)
    if isinstance(letter, str):
        for one in place.files.find([letter]):
            click.echo(msgspec.json.format(encode_json(everything(one)), indent=2))
        return
    settings = settings_with_table(place, [letter])
    with connected(dbt_endpoint(settings)) as connection:
        found = letters.shown(connection, settings.postgres_schema, letter)
    click.echo(json.dumps(found, indent=2, default=datetime.isoformat))


dead_letters.add_command(replay_letters)


@dead_letters.command("drop")
@click.argument("names", type=letter_name, nargs=-1, required=True, metavar="ID...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@place_options
def drop_letters(names: tuple[int | str, ...], yes: bool, **options: Any) -> None:
    """Give up dead letters that need not be delivered.

    Those in the table stay there, marked as dropped; one whose change is refused again is open again. Those
    in a file are taken out of it, and are kept nowhere then; `show` prints one before.
    """
    place = place_of(**options)
    in_table = sorted({one for one in names if isinstance(one, int)})
    in_files = place.files.find([one for one in names if isinstance(one, str)])
    settings = settings_with_table(place, in_table) if in_table else None
    if not (yes or wants_to_drop(len(in_table), len(in_files))):
        click.echo("Nothing was closed.")
        sys.exit(1)
    if settings is not None:
        with connected(owner_endpoint(settings)) as connection:
            count = letters.drop(connection, settings.postgres_schema, in_table)
        click.echo(f"{count} closed, {len(in_table) - count} were closed already.")
    if in_files:
        click.echo(f"{filed.remove(in_files)} removed from their files.")
