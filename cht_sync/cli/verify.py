"""Proving that PostgreSQL holds what CouchDB holds."""

from __future__ import annotations

import json
import sys

import click

from cht_sync import logs
from cht_sync.cli.group import main
from cht_sync.cli.options import environment_option, reachable_settings, wait_option
from cht_sync.cli.progress import bar
from cht_sync.environments import Environment
from cht_sync.reconcile.databases import Result, Wishes, chosen, reconcile
from cht_sync.reconcile.interrupt import interruptible_queries
from cht_sync.reconcile.report import advice, as_json, as_lines
from cht_sync.settings import Settings

DIFFERENT = 3
"""Exit code where something differs, or nothing is proven."""


@main.command(short_help="Prove that PostgreSQL holds what CouchDB holds.")
@click.option(
    "--database", "databases", multiple=True, help="Only this one; may be repeated. Default: COUCHDB_DBS."
)
@click.option("--repair", is_flag=True, help="Bring what differs to what CouchDB holds now.")
@click.option("--json", "machine_readable", is_flag=True, help="Print JSON.")
@wait_option
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Most ids of each kind in the JSON; its counts are exact.",
)
@environment_option
def verify(
    databases: tuple[str, ...],
    repair: bool,
    machine_readable: bool,
    wait: float,
    limit: int,
    environment: str,
) -> None:
    """Compare every document, deletion and row of each database by its revision.

    What is on its way is waited for. --repair writes what differs as CouchDB has it now; rows of
    documents that CouchDB does not know become tombstones. The pipeline may go on meanwhile. Documents
    whose dead letters were dropped are named and left alone; they are no difference. Exit code 0: all the
    same; 3: something differs, or changes were still on their way; 1: it could not be done.
    """
    logs.configure(level="warning")
    settings = reachable_settings(Environment(environment))
    wishes = Wishes(wait=wait, most=limit, repair=repair)
    results: list[Result] = []
    with interruptible_queries():
        for database in chosen(settings, databases):
            results.append(_watched(settings, database, wishes))
            if not machine_readable:
                click.echo("\n".join(as_lines(results[-1])))
    answer = as_json(results)
    if machine_readable:
        click.echo(json.dumps(answer))
    else:
        for line in advice(results, repair=repair):
            click.echo(line)
    sys.exit(0 if answer["same"] else DIFFERENT)


def _watched(settings: Settings, database: str, wishes: Wishes) -> Result:
    with bar() as progress:
        task = progress.add_task(database, total=None)
        return reconcile(
            settings,
            database,
            wishes,
            lambda done, total: progress.update(task, completed=done, total=max(done, total)),
        )
