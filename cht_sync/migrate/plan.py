"""What moving would do: how much there is, what becomes of each sequence, how long it takes and needs.

Nothing is changed but a temporary table, into which the first rows are moved to see how long that takes; it
is gone at the end.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.migrate.connection import patiently_connected
from cht_sync.migrate.ledger import MigrationLedger
from cht_sync.migrate.moves import Move, Moves, NothingToMove, chosen_old, moves_of
from cht_sync.migrate.old import OldTable, found_in, with_progress
from cht_sync.migrate.rights import no_temporary_tables
from cht_sync.migrate.rows import in_blocks, rows_of
from cht_sync.migrate.run import Taken, how_far, how_synced
from cht_sync.migrate.sequence import Judgement, judged
from cht_sync.reconcile.couch import Couch
from cht_sync.reconcile.databases import sides
from cht_sync.reconcile.table import Table
from cht_sync.settings import Settings

COUNTED_BLOCKS = 5_000
"""Blocks of an old table, from all over it, whose rows are counted."""
PROBED_BLOCKS = 200
"""Blocks of an old table that are moved to see how long it takes."""
ASKED = 1_000
"""Ids that CouchDB is asked about to see how long that takes."""
DEARER = 3.0
"""So many times what writing rows takes is it to move them: they are prepared first, and stamped. Measured
with a million rows of 1.1 kB, which took 20 s where writing them took 6.4 (2 cores, PostgreSQL 18)."""


@dataclass(frozen=True)
class Cost:
    """What moving a table costs: seconds in PostgreSQL, and bytes of its disk.

    `rows` that there are, about; `ids` of some of them.
    """

    rows: int
    seconds: float
    bytes: int
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One database: how its sequence is judged, what CouchDB has, and what is done already.

    `asking`: seconds that CouchDB will take to say which rows are this database's. `synced`: how it came that
    nothing is to be taken over.
    """

    move: Move
    judgement: Judgement
    documents: int
    asking: float
    taken: Taken | None
    synced: str | None

    @property
    def done(self) -> bool:
        """Whether all of it is taken over."""
        return self.taken is not None and self.taken.ended


@dataclass(frozen=True)
class Apart:
    """Databases that are in no old table any more: `broken`, each with its table, are half moved, `moved`
    were moved already."""

    broken: tuple[tuple[str, str], ...] = ()
    moved: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All of it. `prepared`: init-db has made our tables; `in_the_way`: the old tables have their schema;
    `apart`: the databases that were begun, and are in no old table any more."""

    moves: Moves
    steps: tuple[Step, ...]
    costs: dict[str, Cost]
    """By relation."""
    prepared: bool
    in_the_way: bool
    apart: Apart


def moves(settings: Settings, schema: str | None, old_host: str | None) -> Moves:
    """Find what is to be moved. Raises ChtSyncError."""
    with patiently_connected(settings, "migrate") as connection:
        found = found_in(connection, schema)
        try:
            old = chosen_old(found, schema, settings.postgres_db)
            return moves_of(connection, with_progress(connection, old), settings, old_host)
        except NothingToMove as nothing:
            gone = _apart(connection, settings, frozenset())
            if gone == Apart():
                raise
            raise NothingToMove(nothing.message, hint=_what_became(gone)) from nothing


def apart(settings: Settings, found: Moves) -> Apart:
    """The databases whose move was begun and that are in no old table any more. Raises ChtSyncError."""
    with patiently_connected(settings, "migrate") as connection:
        return _apart(connection, settings, frozenset(move.database for move in found.moves))


def _apart(connection: Connection, settings: Settings, there: frozenset[str]) -> Apart:
    if not _is_prepared(connection, settings):
        return Apart()
    with connection.cursor() as cursor:
        begun = MigrationLedger.begun(cursor, settings.postgres_schema)
    others = [one for one in settings.couchdb_dbs if one in begun and one not in there]
    return Apart(
        tuple((one, begun[one].relation) for one in others if not begun[one].handed_over),
        tuple(one for one in others if begun[one].handed_over),
    )


def gone_line(database: str, relation: str) -> str:
    """What to say of a database that is half moved, where the rest cannot be."""
    return (
        f"{database}: its rows of {relation} are not all moved, and that table is gone, or no longer known "
        f"to hold them. Read what is missing from CouchDB: cht-sync load {shlex.quote(database)}"
    )


def _what_became(gone: Apart) -> str:
    lines = [gone_line(database, relation) for database, relation in gone.broken]
    if gone.moved:
        lines.append(f"Moved already: {', '.join(gone.moved)}; compare with CouchDB: cht-sync verify")
    return ". ".join(lines)


def plan(settings: Settings, schema: str | None, old_host: str | None) -> Plan:
    """Look at everything. Raises ChtSyncError."""
    found = moves(settings, schema, old_host)
    with patiently_connected(settings, "migrate") as connection:
        if (lacking := no_temporary_tables(connection)) is not None:
            raise lacking
        prepared = _is_prepared(connection, settings)
        tables = {move.table.relation: move.table for move in found.moves}
        costs = {relation: _cost(connection, table) for relation, table in tables.items()}
    steps = []
    for move in found.moves:
        with sides(settings, move.database, writing=True) as (couch, table):
            steps.append(_step(move, couch, table, costs[move.table.relation], prepared))
    in_the_way = not prepared and found.old.schema == settings.postgres_schema
    return Plan(found, tuple(steps), costs, prepared, in_the_way, apart(settings, found))


def _step(move: Move, couch: Couch, table: Table, cost: Cost, prepared: bool) -> Step:
    documents = couch.count()
    begun = time.monotonic()
    if cost.ids:
        couch.states(cost.ids)
    asking = (time.monotonic() - begun) * cost.rows / max(len(cost.ids), 1)
    taken = how_far(table) if prepared else None
    synced = how_synced(table) if prepared and taken is None else None
    return Step(move, judged(move.position, couch), documents, asking, taken, synced)


def _is_prepared(connection: Connection, settings: Settings) -> bool:
    with connection.cursor() as cursor:
        name = sql.Identifier(settings.postgres_schema, "cht_sync_migrations").as_string(cursor)
        cursor.execute("select to_regclass(%s) is not null", (name,))
        return bool(cursor.fetchall()[0][0])


def _cost(connection: Connection, table: OldTable) -> Cost:
    """Move the first blocks into a table of the same form, and reckon from there."""
    connection.autocommit = False
    try:
        with connection.cursor() as cursor:
            cursor.execute("""
                set local client_min_messages = warning;
                create temporary table cht_sync_probe (_id text collate "C" primary key, _rev text, doc jsonb,
                  "@timestamp" timestamptz, "@version" text, doc_as_upsert boolean, _deleted boolean,
                  saved_timestamp timestamp, source text) on commit drop;
                create index on cht_sync_probe (saved_timestamp);
                create index on cht_sync_probe ("@timestamp");
            """)
            cursor.execute(
                """
                select pg_relation_size(to_regclass(%s)) / current_setting('block_size')::bigint
                """,
                (table.identifier.as_string(cursor),),
            )
            ((blocks,),) = cursor.fetchall()
            share = min(COUNTED_BLOCKS / max(blocks, 1), 1.0)
            cursor.execute(
                sql.SQL("select count(*) from {} tablesample system (%s)").format(table.identifier),
                (100 * share,),
            )
            ((counted,),) = cursor.fetchall()
            begun = time.monotonic()
            cursor.execute(
                sql.SQL("""
                    insert into cht_sync_probe
                      select _id, _rev, doc, now(), '1', true, _deleted, now() at time zone 'UTC', ''
                      from ({}) as rows
                    on conflict do nothing
                """).format(rows_of(table, (), in_blocks(connection.server_version))),
                {"first": 0, "after": min(blocks, PROBED_BLOCKS)},
            )
            seconds, rows = time.monotonic() - begun, cursor.rowcount
            cursor.execute("select pg_total_relation_size('pg_temp.cht_sync_probe')")
            ((size,),) = cursor.fetchall()
            cursor.execute("select _id from cht_sync_probe limit %s", (ASKED,))
            ids = tuple(one for (one,) in cursor.fetchall())
    finally:
        connection.rollback()
        connection.autocommit = True
    times = counted / share / rows if rows else 1.0
    return Cost(round(counted / share), DEARER * seconds * times, round(size * times), ids)
