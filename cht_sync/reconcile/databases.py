"""Verifying and repairing the databases of an installation, one after another."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.reconcile.couch import Couch
from cht_sync.reconcile.repair import mend
from cht_sync.reconcile.row import RowMaker
from cht_sync.reconcile.store import kept_on_disk
from cht_sync.reconcile.table import Table, told_of
from cht_sync.reconcile.verify import Advance, Finding, collect, conclude, stranger
from cht_sync.reconcile.writing import Outcome
from cht_sync.settings import Settings
from cht_sync.warehouse.connection import dbt_endpoint, owner_endpoint


@dataclass(frozen=True)
class Wishes:
    """What the caller asks for."""

    wait: float = 60.0
    """Seconds for changes that are on their way."""
    most: int = 1_000
    """Ids that are named of each kind."""
    repair: bool = False
    """Mend what differs."""


@dataclass(frozen=True)
class Result:
    """What was found, in the end; and what a repair did before that."""

    finding: Finding
    repaired: Counter[Outcome]


def chosen(settings: Settings, names: Sequence[str]) -> tuple[str, ...]:
    """The databases named, else all. Raises SettingsError for one that is not synced."""
    strangers = [name for name in names if name not in settings.couchdb_dbs]
    if strangers:
        raise SettingsError(
            [f"{name} is none of COUCHDB_DBS" for name in strangers],
            hint=f"They are: {' '.join(settings.couchdb_dbs)}",
        )
    return tuple(dict.fromkeys(names)) or settings.couchdb_dbs


def reconcile(settings: Settings, database: str, wishes: Wishes, advance: Advance) -> Result:
    """Verify one database; with `repair`, mend what differs and look again. Raises ChtSyncError."""
    repaired: Counter[Outcome] = Counter()
    with kept_on_disk() as store, sides(settings, database, writing=wishes.repair) as (couch, table):
        if wishes.repair:
            refuse_stranger(couch, table)
        finding = collect(store, couch, table, advance)
        if finding.compared:
            conclude(finding, store, couch, table, wait=wishes.wait, most=wishes.most)
        if wishes.repair and finding.differs:
            mend(store, couch, table, RowMaker(settings, database), repaired)
            store.reconsider()
            conclude(finding, store, couch, table, wait=wishes.wait, most=wishes.most)
            finding.rows, finding.tombstones = table.counts()
    return Result(finding, repaired)


def refuse_stranger(couch: Couch, table: Table) -> None:
    """Raise ChtSyncError where rows would be made equal to a CouchDB that may not be theirs.

    An empty one in the place of the right one would turn every row into a tombstone.
    """
    reason = stranger(couch, table)
    if reason is not None:
        raise ChtSyncError(
            f"{table.database}: nothing is written: {reason}",
            hint="Correct COUCHDB_HOST. If it is right, let the pipeline read from there first "
            "(cht-sync up); it may ask for your word (cht-sync accept-server).",
        )


@contextmanager
def sides(
    settings: Settings, database: str, *, writing: bool, stop: threading.Event | None = None
) -> Iterator[tuple[Couch, Table]]:
    """Both sides of a database. Who writes also reads as the owner: dbt's server may be a copy that lags.

    Once there is `stop`, CouchDB is not asked a second time.
    """
    endpoint = owner_endpoint(settings) if writing else dbt_endpoint(settings)
    couch = Couch(settings, database, stop or threading.Event())
    try:
        with told_of(database), endpoint.connect() as connection:
            yield couch, Table(connection, settings.postgres_schema, database, settings.source(database))
    finally:
        couch.close()
