"""Dead letters in the operator's hand."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from psycopg2.extensions import connection as Connection

from cht_sync import logs
from cht_sync.cli.group import main
from cht_sync.cli.letter_places import Place, place_of, place_options
from cht_sync.cli.letter_words import everything, print_table, said, wants_to_drop
from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.pipeline.dead_letters.line import Letter
from cht_sync.pipeline.dead_letters.redelivery import PATIENCE, Outcome, Redelivery
from cht_sync.pipeline.document import encode_json
from cht_sync.reconcile import filed, letters
from cht_sync.reconcile.databases import chosen
from cht_sync.reconcile.filed import Filed
from cht_sync.reconcile.interrupt import interruptible_queries
from cht_sync.reconcile.table import told_of
from cht_sync.settings import Settings
from cht_sync.warehouse.connection import Endpoint, dbt_endpoint, owner_endpoint

LONG_AGO = datetime.min.replace(tzinfo=UTC)


class LetterName(click.ParamType[int | str]):
    """A number in the table, or `<pipeline>:<id>` in a file."""

    name = "ID"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> int | str:
        text = str(value)
        if text.isascii() and text.isdigit():
            return int(text)
        pipeline, colon, id = text.rpartition(":")
        if not (pipeline and colon and id):
            self.fail(f"{text!r} is no dead letter; they are numbers, or PIPELINE:ID in files")
        return text


LETTER = LetterName()


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
        connection = _table(place, stack)
        if connection is not None and place.settings is not None:
            schema = place.settings.postgres_schema
            of_table = letters.listed(connection, schema, database, closed=closed)
            found += [{**one, "where": "table"} for one in of_table]
            in_files = _only_in_files(in_files, connection, schema)
    found = sorted([*found, *(one.as_row() for one in in_files)], key=lambda one: one["at"] or LONG_AGO)
    if machine_readable:
        click.echo(json.dumps(found, default=datetime.isoformat))
    elif found:
        print_table(found)
    else:
        click.echo("No dead letters.")
    sys.exit(1 if connection is None and place.settings is not None else 0)


@dead_letters.command("show")
@click.argument("letter", type=LETTER, metavar="ID")
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
    settings = _with_table(place, [letter])
    with _connected(dbt_endpoint(settings)) as connection:
        found = letters.shown(connection, settings.postgres_schema, letter)
    click.echo(json.dumps(found, indent=2, default=datetime.isoformat))


@dead_letters.command("replay")
@click.argument("names", type=LETTER, nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="All that are open.")
@click.option("--database", help="With --all: only those of this database, or of the pipeline of this name.")
@click.option(
    "-f",
    "--path.config",
    "configuration",
    multiple=True,
    metavar="PATH",
    help="The configuration whose outputs deliver: a file, folder or glob; may be repeated. Default: that "
    "of the environment, or of --path.settings.",
)
@click.option(
    "--output",
    metavar="PLUGIN",
    help="Deliver through the output with this id, whichever refused.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=PATIENCE,
    show_default=True,
    metavar="SECONDS",
    help="How long an output that does not answer is waited for.",
)
@click.option("--enable-python-filter", "python_filter", is_flag=True, help="As for `cht-sync pipeline run`.")
@place_options
def replay_letters(
    names: tuple[int | str, ...],
    every: bool,
    database: str | None,
    output: str | None,
    timeout: float,
    **options: Any,
) -> None:
    """Try dead letters once more.

    Of one in the table the document is fetched as it is now and stored, and the letter is closed.

    One in a file is delivered as it is, through the output that refused it; filters are not run again.
    Delivered, it leaves the file; refused again, it stays there with the new reason. The engine may run
    meanwhile. When this command is killed, letters that it delivered last (within a second, or a tenth of its
    time) are still in the file, and another replay would deliver them twice.

    Exit code 1 when one of them could not be delivered; the others are.

    \b
      cht-sync dead-letters replay 7
      cht-sync dead-letters replay main:hr4v0c9y2k -f own.conf --path.data data
    """
    if every == bool(names) or (database and not every):
        raise SettingsError(["name dead letters, or say --all"], hint="See: cht-sync dead-letters list")
    logs.configure(level="warning")
    # Its words would be those of a run, which has made a new letter.
    logging.getLogger("cht_sync.pipeline.http.plain").setLevel(logging.CRITICAL)
    place = place_of(**options)
    if database and place.settings is not None:
        chosen(place.settings, [database])
    in_table = [one for one in dict.fromkeys(names) if isinstance(one, int)]
    in_files = place.files.find([one for one in dict.fromkeys(names) if isinstance(one, str)])
    failed = 0
    with ExitStack() as stack:
        replay = None
        if every:
            in_files = [one for one in place.files.letters() if one.is_of(database)]
            if (connection := _table(place, stack, owner=True)) is None:
                failed += place.settings is not None
            elif place.settings is not None:
                schema = place.settings.postgres_schema
                replay = letters.Replay(place.settings, connection)
                in_table = letters.open_ids(connection, schema, database)
                in_files = _only_in_files(in_files, connection, schema)
        elif in_table or (place.settings is not None and any(one.fingerprint for one in in_files)):
            settings = _with_table(place, in_table)
            connection = stack.enter_context(_connected(owner_endpoint(settings)))
            replay = letters.Replay(settings, connection)
        for number in in_table:
            problem = None if replay is None else replay.replay(number)
            failed += problem is not None
            click.echo(f"{number}: {problem or 'stored'}")
        delivering = stack.enter_context(closing(Redelivery(place.startup, output, timeout)))

        def deliver(letter: Letter) -> Outcome:
            if replay is None or "fingerprint" not in letter.members:
                return delivering.deliver(letter)
            said_of = letter.members
            database = said_of.get("database") or letter.pipeline
            return Outcome(
                problem=replay.replay_copy(said_of["fingerprint"], database, said_of.get("document_id"))
            )

        for letter, outcome in filed.replay(in_files, deliver):
            failed += not outcome.delivered
            click.echo(f"{letter.name}: {said(outcome)}")
    if every and not in_table and not in_files:
        click.echo("No dead letters.")
    sys.exit(1 if failed else 0)


@dead_letters.command("drop")
@click.argument("names", type=LETTER, nargs=-1, required=True, metavar="ID...")
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
    settings = _with_table(place, in_table) if in_table else None
    if not (yes or wants_to_drop(len(in_table), len(in_files))):
        click.echo("Nothing was closed.")
        sys.exit(1)
    if settings is not None:
        with _connected(owner_endpoint(settings)) as connection:
            count = letters.drop(connection, settings.postgres_schema, in_table)
        click.echo(f"{count} closed, {len(in_table) - count} were closed already.")
    if in_files:
        click.echo(f"{filed.remove(in_files)} removed from their files.")


def _table(place: Place, stack: ExitStack, *, owner: bool = False) -> Connection | None:
    """Connect to the environment's database; say in one line why the table is not looked at otherwise."""
    if place.settings is None:
        click.echo("Only files were looked at, not the table of dead letters in PostgreSQL.", err=True)
        return None
    endpoint = owner_endpoint(place.settings) if owner else dbt_endpoint(place.settings)
    try:
        return stack.enter_context(_connected(endpoint))
    except ChtSyncError as error:
        click.echo(f"The table of dead letters was not looked at: {error}", err=True)
        return None


def _with_table(place: Place, numbers: Sequence[int]) -> Settings:
    """The settings by which the table is found. Raises ChtSyncError where only files are meant."""
    if place.settings is None:
        raise ChtSyncError(
            f"{', '.join(map(str, numbers))}: numbers are of the table, and only files were asked for",
            hint="Letters in files are called PIPELINE:ID. For the table leave --path.* and -f out.",
        )
    return place.settings


def _only_in_files(in_files: Sequence[Filed], connection: Connection, schema: str) -> list[Filed]:
    """Leave out the letters that the table has too, open or settled."""
    fingerprints = [one.fingerprint for one in in_files if one.fingerprint is not None]
    in_table = letters.known(connection, schema, fingerprints) if fingerprints else {}
    return [one for one in in_files if one.fingerprint not in in_table]


@contextmanager
def _connected(endpoint: Endpoint) -> Iterator[Connection]:
    with interruptible_queries(), told_of("dead letters"), endpoint.connect() as connection:
        yield connection
