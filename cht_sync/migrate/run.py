"""Taking over one database: its rows, its position, and what the rows lack.

The rows are moved first. Then, in one transaction, the pipeline is given the sequence that the earlier
program had reached, or this moment's; and from there on it is a load like any other without its chunks:
CouchDB's list of changes is compared with the rows by revision, and what differs, and the pipeline is not
about to bring, is read: deletions, which couch2pg has forgotten, and documents that an earlier program has
lost or left as they were. So the result is what CouchDB holds, whatever the old table was.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from dataclasses import dataclass

from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.load.ledger import Ledger, Progress
from cht_sync.load.run import finish, persistently
from cht_sync.migrate.batches import Mover
from cht_sync.migrate.ledger import MigrationLedger, Moved
from cht_sync.migrate.moves import Move
from cht_sync.migrate.sequence import judged
from cht_sync.reconcile.couch import Couch
from cht_sync.reconcile.databases import refuse_stranger, sides
from cht_sync.reconcile.row import RowMaker
from cht_sync.reconcile.table import Table
from cht_sync.settings import Settings


@dataclass(frozen=True)
class Taken:
    """How far a database is. `looked_through` is what was added after the rows; None before that begins."""

    moved: Moved
    looked_through: Progress | None

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.looked_through is not None and self.looked_through.ended


AdvanceRows = Callable[[Moved, int], None]
AdvanceLook = Callable[[Progress], None]


def begin(settings: Settings, move: Move) -> tuple[Taken, str | None]:
    """Begin, or find how far it is; where it begins now, say why no sequence is kept, if none is.

    Nothing is written where it is refused. Raises ChtSyncError.
    """
    if settings.pipeline_engine != "native":
        raise SettingsError(
            [f"PIPELINE_ENGINE={settings.pipeline_engine} keeps its position in a file, which is not moved"],
            hint="Set PIPELINE_ENGINE=native.",
        )
    with sides(settings, move.database, writing=True) as (couch, table):
        couch.count()
        reason = None
        taken = how_far(table)
        if taken is None:
            if (how := how_synced(table)) is not None:
                raise AlreadySynced(
                    f"{move.database}: {how}, so that there is nothing to take over",
                    hint="Compare what both have: cht-sync migrate check.",
                )
            refuse_stranger(couch, table)
            judgement = judged(move.position, couch)
            reason = judgement.reason
            with table.connection, table.connection.cursor() as cursor:
                MigrationLedger(table).begin(cursor, move, judgement.sequence)
            taken = how_far(table)
    if taken is None or (not taken.moved.ended and taken.moved.relation != move.table.relation):
        where = taken.moved.relation if taken else "another place"
        raise ChtSyncError(
            f"{move.database} is taken over from {where} already",
            hint="Go on with that one: cht-sync migrate run --from "
            f"{shlex.quote(where.partition('.')[0])}; or read it from CouchDB: "
            f"cht-sync load {shlex.quote(move.database)}",
        )
    return taken, reason


class AlreadySynced(ChtSyncError):
    """The rows of a database are CouchDB's already: old ones would add nothing."""


def run(settings: Settings, move: Move, stop: threading.Event, rows: AdvanceRows, look: AdvanceLook) -> Taken:
    """Do what is left of a database that was begun, or until `stop`; return how far it is then.

    A server that is away is waited for. Raises ChtSyncError; what is done stays, and the same again goes on
    from there.
    """
    maker = RowMaker(settings, move.database) if move.filtered else None

    def move_rows(couch: Couch, table: Table) -> None:
        Mover(move, couch, table, maker).work(stop, rows)

    persistently(settings, move.database, stop, move_rows)
    if not stop.is_set():
        persistently(settings, move.database, stop, _hand_over)
    if not stop.is_set():
        finish(settings, move.database, advance=look, stop=stop)
    with sides(settings, move.database, writing=True) as (_couch, table):
        taken = how_far(table)
    if taken is None:
        raise ChtSyncError(
            f"{move.database}: what was moved is no longer told",
            hint="A backup was restored, perhaps. Begin again: cht-sync migrate run.",
        )
    return taken


def how_far(table: Table) -> Taken | None:
    """How far a database is; None where it was never begun. Raises psycopg2.Error."""
    with table.connection, table.connection.cursor() as cursor:
        moved = MigrationLedger(table).state(cursor)
    if moved is None:
        return None
    return Taken(moved, Ledger(table).progress() if moved.ended else None)


def how_synced(table: Table) -> str | None:
    """How it came that the rows are CouchDB's already; None where they are not. Raises psycopg2.Error."""
    agreed = Ledger(table).agreement()
    if agreed is not None:
        return "cht-sync load has read it" if agreed.ended else "cht-sync load is reading it"
    return "its pipeline has read it" if table.caught_up() else None


def _hand_over(couch: Couch, table: Table) -> None:
    with table.connection, table.connection.cursor() as cursor:
        moved = MigrationLedger(table).state(cursor)
    if moved is None or not moved.ended:
        return
    Ledger(table).begin(
        moved.sequence or couch.sequence(),
        couch.identity(),
        expected=moved.read,
        chunk_size=1,
        anew=False,
        planned=True,
    )
