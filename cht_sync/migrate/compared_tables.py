"""One old table, document by document, with what was made of it.

Each document of the old table is looked up in ours, inside of PostgreSQL; CouchDB is asked about those that
are not the same. What is in ours alone is newer than the old program, or was lost by it, and is only counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.migrate.connection import patiently_connected
from cht_sync.migrate.judging import ASKED_AT_ONCE, Judge, Side
from cht_sync.migrate.kinds import Compared, Kind
from cht_sync.migrate.old import OldTable, Program
from cht_sync.migrate.rows import rows_left_out, rows_of
from cht_sync.reconcile.state import State
from cht_sync.reconcile.table import ROWS_AT_ONCE
from cht_sync.settings import Settings

IDS = ("_id", "doc ->> '_id'::text")
"""What a unique index of an old table's documents is over."""
REPLACED = "replaced"
"""The same but for what jsonb cannot hold."""

_IS_UNIQUE = """
    select exists (select from pg_index where indrelid = to_regclass(%s) and indisunique and indisvalid
      and indpred is null and indnkeyatts = 1 and btrim(pg_get_indexdef(indexrelid, 1, true), '()') = any(%s))
"""
_DUPLICATES = """
    select count(*) - count(distinct _id),
      count(*) filter (where found) - count(distinct _id) filter (where found)
    from (select old._id, not old._deleted and exists (select from ({ours}) as ours
        where ours._id = old._id and not ours._deleted) as found
      from ({old}) as old) as counted
"""
_LOOKED_UP = """
    select case
        when new._id is null then 'missing'
        when new._rev is distinct from old._rev then case when new._deleted and not old._deleted
          then 'deleted' else 'moved_on' end
        when new._deleted = old._deleted and (not %(contents)s or new.doc = old.doc) then 'same'
        -- What jsonb cannot hold the old programs have cut out, and we have replaced.
        when new._deleted = old._deleted and exists (select from {replaced} as note
          where note.doc_id = new._id collate "default" and note.rev = new._rev) then 'replaced'
        else 'changed' end,
      old._id, old._rev, old._deleted
    from ({old}) as old left join lateral (
      select * from ({new}) as ours where ours._id = old._id
      order by ours._rev = old._rev desc limit 1) as new on true
    where new._id is not null or not old._deleted
"""


def compare_table(settings: Settings, table: OldTable, sides: Sequence[Side]) -> Compared:
    """Compare it with our tables of these databases. Raises ChtSyncError."""
    compared = Compared(
        table.relation, tuple(one.database for one in sides), not any(one.filtered for one in sides)
    )
    with (
        patiently_connected(settings, table.relation) as connection,
        patiently_connected(settings, table.relation) as beside,
        closing(Judge(settings, beside, sides)) as judge,
    ):
        found = 0
        others: list[tuple[Kind, str, State]] = []

        def enter_others() -> None:
            for kind, document_id in judge.judged(others) if others else ():
                compared.enter(kind, document_id)
            others.clear()

        for one in _looked_up(connection, settings, table, sides, compared.contents):
            found += one.kind in (Kind.SAME, Kind.MOVED_ON, Kind.CHANGED) and not one.state.deleted
            compared.replaced += one.replaced
            if one.kind is Kind.SAME:
                compared.enter(one.kind, one.id)
                continue
            others.append((one.kind, one.id, one.state))
            if len(others) == ASKED_AT_ONCE:
                enter_others()
        enter_others()
        _count(connection, settings, table, sides, found, compared)
    return compared


class _LookedUp(NamedTuple):
    """A document of an old table: what our tables make it, its id and state there.

    `replaced`: it is the same but for what jsonb cannot hold.
    """

    kind: Kind
    id: str
    state: State
    replaced: bool


def _looked_up(
    connection: Connection, settings: Settings, table: OldTable, sides: Sequence[Side], contents: bool
) -> Iterator[_LookedUp]:
    sources = _sources(sides)
    query = sql.SQL(_LOOKED_UP).format(
        old=rows_of(table, sources),
        new=_ours(settings, sides),
        replaced=sql.Identifier(settings.postgres_schema, "replaced_values"),
    )
    connection.autocommit = False  # the driver wants it so for a cursor of the server's
    try:
        with connection, connection.cursor("compared") as cursor:
            cursor.itersize = ROWS_AT_ONCE
            cursor.execute(query, {"contents": contents, "sources": sources})
            for kind, document_id, revision, deleted in cursor:
                replaced = kind == REPLACED
                state = State(revision, deleted)
                yield _LookedUp(Kind.SAME if replaced else Kind(kind), document_id, state, replaced)
    finally:
        if not connection.closed:
            connection.autocommit = True


def _count(
    connection: Connection,
    settings: Settings,
    table: OldTable,
    sides: Sequence[Side],
    found: int,
    compared: Compared,
) -> None:
    """Enter what only numbers are told of. `found` are living rows of the old table that we have, too."""
    parameters = {"sources": _sources(sides)}
    ours = _ours(settings, sides)
    with connection.cursor() as cursor:
        cursor.execute(rows_left_out(table, parameters["sources"]), parameters)
        ((compared.no_documents, compared.elsewhere),) = cursor.fetchall()
        cursor.execute(sql.SQL("select count(*) from ({}) as ours where not _deleted").format(ours))
        ((living,),) = cursor.fetchall()
        again = 0
        # The newest revision of each document is taken of those of 2023, so none is there twice.
        if table.program is not Program.CHT_SYNC_2023:
            cursor.execute(_IS_UNIQUE, (table.identifier.as_string(cursor), list(IDS)))
            if cursor.fetchall() == [(False,)]:
                query = sql.SQL(_DUPLICATES).format(old=rows_of(table, parameters["sources"]), ours=ours)
                cursor.execute(query, parameters)
                ((compared.duplicates, again),) = cursor.fetchall()
    compared.ours_alone = max(living - (found - again), 0)


def _sources(sides: Sequence[Side]) -> list[str]:
    return [source for one in sides for source in one.sources]


def _ours(settings: Settings, sides: Sequence[Side]) -> sql.Composable:
    return sql.SQL(" union all ").join(
        sql.SQL("select _id, _rev, _deleted, doc from {}").format(
            sql.Identifier(settings.postgres_schema, one.database)
        )
        for one in sides
    )
