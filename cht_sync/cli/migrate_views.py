"""Views for people who come from couch2pg."""

from __future__ import annotations

import sys

import click

from cht_sync import logs
from cht_sync.cli.options import environment_option, reachable_settings
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.migrate.making import Report
from cht_sync.migrate.views import Wishes, drop_views, make_views
from cht_sync.reconcile.interrupt import interruptible_queries
from cht_sync.reconcile.table import told_of
from cht_sync.settings import Settings
from cht_sync.transform.couch2pg import SCHEMA
from cht_sync.warehouse.connection import owner_endpoint


@click.command("views", short_help="Let SQL that was written for couch2pg go on unchanged.")
@click.option(
    "--from",
    "old_schema",
    metavar="SCHEMA",
    help="Where couch2pg's tables and your views over them are. Default: where its table couchdb is.",
)
@click.option(
    "--grant",
    "readers",
    multiple=True,
    metavar="ROLE",
    help="A role that may read the views, as dbt's may; may be repeated. It also reads what later runs make.",
)
@click.option(
    "--trust",
    "trusted",
    multiple=True,
    metavar="ROLE",
    help="Also carry over views that belong to this role, or use its functions; may be repeated. They are "
    "then read with the rights of POSTGRES_USER, so read their SQL first.",
)
@click.option(
    "--without-indexes",
    is_flag=True,
    help="Build no indexes of the documents' _id and type, without which looking for one reads all.",
)
@click.option("--drop", is_flag=True, help="Remove all of it, the indexes too.")
@environment_option
def migrate_views(
    old_schema: str | None,
    readers: tuple[str, ...],
    trusted: tuple[str, ...],
    without_indexes: bool,
    drop: bool,
    environment: str,
) -> None:
    """Make the schema couch2pg: the tables and views that couch2pg had, over the documents of cht-sync.

    couchdb, contactview_metadata, form_metadata, useview_telemetry and the others are there with their
    columns, and so are views and materialised views of your own that are found beside couch2pg's tables. Only
    their schema is another one, so give those who read them a search path. The dbt loop refreshes them (see
    COUCH2PG_REFRESH_INTERVAL).

    May be repeated at any time, and is to be after a change of COUCHDB_DBS. Says what it did. Nothing of
    couch2pg's own is changed. Exit code 1 when a view of your own could not be made; the others are.

    \b
      cht-sync migrate views --env prod --grant dashboards
      psql -c 'alter role dashboards set search_path = couch2pg, public'
    """
    if drop and (old_schema or readers or trusted or without_indexes):
        raise SettingsError(["--drop removes everything: leave out the other options"])
    logs.configure(level="warning")
    settings = reachable_settings(Environment(environment))
    endpoint = owner_endpoint(settings)
    with interruptible_queries(), told_of(f"schema {SCHEMA}"), endpoint.connect() as connection:
        if drop:
            report = drop_views(settings, connection)
        else:
            wishes = Wishes(old_schema, readers, trusted, indexes=not without_indexes)
            report = make_views(settings, connection, wishes)
    _tell(report, settings, dropped=drop)
    sys.exit(1 if report.failed else 0)


def _tell(report: Report, settings: Settings, *, dropped: bool) -> None:
    if report.origin is not None:
        click.echo(report.origin)
    for line in (*report.done, *report.noted):
        click.echo(line)
    for line in report.failed:
        click.echo(line, err=True)
    if report.failed:
        click.echo("Run this again once that is mended; the rest is up to date.", err=True)
    elif dropped:
        click.echo(f"{settings.postgres_db} has no schema {SCHEMA}.")
    elif not report.done:
        click.echo(f"{SCHEMA} in {settings.postgres_db} is up to date; nothing was changed.")
    else:
        click.echo(f"{SCHEMA} in {settings.postgres_db} is up to date.")
