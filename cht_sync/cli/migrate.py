"""Moving from couch2pg, cht-sync 2 and cht-sync of 2023."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from cht_sync import logs
from cht_sync.cli.group import INTERRUPTED, main
from cht_sync.cli.migrate_views import migrate_views
from cht_sync.cli.options import Command, environment_option, reachable_settings
from cht_sync.cli.progress import Lines, bar
from cht_sync.environments import Environment
from cht_sync.load.ledger import Progress
from cht_sync.migrate import run as running
from cht_sync.migrate.check import compare
from cht_sync.migrate.ledger import Moved
from cht_sync.migrate.plan import apart, gone_line
from cht_sync.migrate.plan import moves as moves_in
from cht_sync.migrate.plan import plan as planned
from cht_sync.migrate.report import (
    check_as_json,
    check_as_lines,
    plan_as_json,
    plan_as_lines,
    run_line,
    unmoved,
)
from cht_sync.reconcile.databases import chosen
from cht_sync.reconcile.interrupt import interruptible_queries
from cht_sync.shutdown import stop_on_signals

DIFFERENT = 3
"""Exit code where something differs that should not."""


def origin_options(command: Command) -> Command:
    """The options that say where the earlier program's tables are, and which CouchDB it read."""
    for option in (
        click.option(
            "--from",
            "schema",
            metavar="SCHEMA",
            help="Schema of the earlier program's tables. Default: where they are found.",
        ),
        click.option(
            "--old-host",
            metavar="HOST",
            help="The name by which the earlier program knew this CouchDB, where that is not COUCHDB_HOST.",
        ),
    ):
        command = option(command)
    return command


@main.group(short_help="Move from couch2pg, cht-sync 2 or cht-sync of 2023.")
def migrate() -> None:
    """Take over what couch2pg, cht-sync 2 or cht-sync of 2023 have stored, without reading it all again.

    Their tables must be in the PostgreSQL database that POSTGRES_DB names; they are only read, and may be
    written meanwhile.

    \b
      cht-sync migrate plan --env prod     what would be done; nothing is changed
      cht-sync migrate run --env prod      do it; may be stopped and run again
      cht-sync migrate check --env prod    compare old and new
      cht-sync migrate views --env prod    let SQL made for couch2pg go on
    """


@migrate.command("plan", short_help="Show what would be moved, how long it takes and what it needs.")
@click.option("--json", "machine_readable", is_flag=True, help="Print JSON.")
@origin_options
@environment_option
def plan(machine_readable: bool, schema: str | None, old_host: str | None, environment: str) -> None:
    """Show the earlier program's tables, what becomes of each database, its sequence, time and disk.

    Nothing is changed. Time and disk are reckoned from the first rows, which are moved into a temporary
    table.
    """
    logs.configure(level="warning")
    settings = reachable_settings(Environment(environment))
    with interruptible_queries():
        found = planned(settings, schema, old_host)
    if machine_readable:
        click.echo(json.dumps(plan_as_json(found)))
        return
    words = "".join(
        f" {option} {shlex.quote(value)}"
        for option, value in (("--from", schema), ("--old-host", old_host))
        if value
    )
    click.echo("\n".join(plan_as_lines(found, f"cht-sync migrate run{words} --env {environment}")))


@migrate.command("run", short_help="Move the rows, and go on from the earlier program's sequence.")
@click.option(
    "--database", "databases", multiple=True, help="Only this one; may be repeated. Default: COUCHDB_DBS."
)
@origin_options
@environment_option
def run(databases: tuple[str, ...], schema: str | None, old_host: str | None, environment: str) -> None:
    """Move the rows of each database inside of PostgreSQL, a part at a time.

    Then the pipeline is given the earlier program's sequence, where that is valid, and CouchDB's list of
    changes is compared with the rows by revision: what differs is read from CouchDB. The pipelines may run
    or not. Ctrl-C, kill -9 or a server that goes away lose nothing: run the same again, and it goes on where
    it was. What is done is not done again.
    """
    logs.configure(level="warning")
    settings = reachable_settings(Environment(environment))
    wanted = chosen(settings, databases)
    found = moves_in(settings, schema, old_host)
    gone = apart(settings, found)
    halves = [one for one in gone.broken if one[0] in wanted]
    with stop_on_signals() as stop:
        for move in found.moves:
            if move.database not in wanted:
                continue
            try:
                taken, reason = running.begin(settings, move)
            except running.AlreadySynced as synced:
                if databases:
                    raise
                click.echo(str(synced))
                continue
            if taken.ended:
                click.echo(f"{move.database} was moved already; nothing is changed")
                continue
            if reason is not None:
                click.echo(f"{move.database}: no sequence is kept: {reason}")
            with _shown(move.database) as (rows, look):
                taken = running.run(settings, move, stop, rows, look)
            click.echo(run_line(move.database, taken), err=not taken.ended)
            if not taken.ended:
                click.echo(f"Go on: cht-sync migrate run --env {environment}", err=True)
                sys.exit(INTERRUPTED)
    for line in unmoved(found, gone):
        click.echo(line)
    for database, relation in halves:
        click.echo(gone_line(database, relation), err=True)
    click.echo(f"Compare old and new: cht-sync migrate check --env {environment}")
    click.echo(f"Then let the pipelines go on: cht-sync up --env {environment}")
    sys.exit(1 if halves else 0)


@migrate.command("check", short_help="Compare old and new, document by document and view by view.")
@click.option("--json", "machine_readable", is_flag=True, help="Print JSON.")
@origin_options
@environment_option
def check(machine_readable: bool, schema: str | None, old_host: str | None, environment: str) -> None:
    """Look up each document of the earlier program's tables in ours, by revision and content; then compare
    the views: couch2pg's with those of the schema couch2pg (see cht-sync migrate views), others with dbt's.

    Documents that have moved on since are told apart from those that are missing. Exit code 0: no document
    is missing, or other than CouchDB's; no view is lost, lacks a column, cannot be read, or differs while the
    documents that it reads are the same; 3: one is or does; 1: it could not be done.
    """
    logs.configure(level="warning")
    settings = reachable_settings(Environment(environment))
    with interruptible_queries():
        result = compare(settings, moves_in(settings, schema, old_host))
    if machine_readable:
        click.echo(json.dumps(check_as_json(result)))
    else:
        click.echo("\n".join(check_as_lines(result)))
    sys.exit(0 if result.same else DIFFERENT)


migrate.add_command(migrate_views)


@contextmanager
def _shown(database: str) -> Iterator[tuple[Callable[[Moved, int], None], Callable[[Progress], None]]]:
    """Show how far it is: a bar on a terminal, else a line now and then."""
    lines = Lines()
    with bar() as progress:
        task = progress.add_task(f"{database}: rows", total=None)

        def rows(moved: Moved, blocks: int) -> None:
            progress.update(task, completed=moved.next_block, total=blocks)
            percent = 100 * moved.next_block // max(blocks, 1)
            lines.tell(lambda: f"{database}: {moved.moved:,} rows moved, {percent} %")

        def look(_progress: Progress) -> None:
            progress.update(task, description=f"{database}: comparing with CouchDB", total=None)
            lines.tell(lambda: f"{database}: comparing the revisions with CouchDB's")

        yield rows, look
