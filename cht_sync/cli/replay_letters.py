"""Trying dead letters once more."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import click

from cht_sync import logs
from cht_sync.cli.letter_places import (
    connected,
    letter_name,
    only_in_files,
    place_of,
    place_options,
    settings_with_table,
    table_of,
)
from cht_sync.cli.letter_words import said
from cht_sync.errors import SettingsError
from cht_sync.pipeline.dead_letters.line import Letter
from cht_sync.pipeline.dead_letters.redelivery import PATIENCE, Outcome, Redelivery
from cht_sync.reconcile import filed, letters
from cht_sync.reconcile.databases import chosen
from cht_sync.warehouse.connection import owner_endpoint


@click.command("replay")
@click.argument("names", type=letter_name, nargs=-1, metavar="[ID]...")
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
    logging.getLogger("cht_sync.pipeline.http").setLevel(logging.CRITICAL)
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
            if (connection := table_of(place, stack, owner=True)) is None:
                failed += place.settings is not None
            elif place.settings is not None:
                schema = place.settings.postgres_schema
                replay = letters.Replay(place.settings, connection)
                in_table = letters.open_ids(connection, schema, database)
                in_files = only_in_files(in_files, connection, schema)
        elif in_table or (place.settings is not None and any(one.fingerprint for one in in_files)):
            settings = settings_with_table(place, in_table)
            connection = stack.enter_context(connected(owner_endpoint(settings)))
            replay = letters.Replay(settings, connection)
        for number in in_table:
            problem = None if replay is None else replay.replay(number)
            failed += problem is not None
            click.echo(f"{number}: {problem or 'stored'}")
        delivering = stack.enter_context(closing(Redelivery(place.startup, output, timeout)))
        deliver = delivering.deliver if replay is None else partial(_replayed, replay, delivering)
        for letter, outcome in filed.replay(in_files, deliver):
            failed += not outcome.delivered
            click.echo(f"{letter.name}: {said(outcome)}")
    if every and not in_table and not in_files:
        click.echo("No dead letters.")
    sys.exit(1 if failed else 0)


def _replayed(replay: letters.Replay, delivering: Redelivery, letter: Letter) -> Outcome:
    """Give the documents that PostgREST refused the way of those in the table."""
    members = letter.members
    if "fingerprint" not in members:
        return delivering.deliver(letter)
    database = members.get("database") or letter.pipeline
    return Outcome(problem=replay.replay_copy(members["fingerprint"], database, members.get("document_id")))
