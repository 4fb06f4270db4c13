"""Old and new, document by document, and then view by view.

Each document of the old tables is looked up in ours. What is in ours alone is newer than the old program, or
was lost by it, and is only counted.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.load.changed import Changed
from cht_sync.migrate.compared_views import ViewFinding, compare_views
from cht_sync.migrate.connection import patiently_connected
from cht_sync.migrate.moves import Move, Moves
from cht_sync.migrate.old import PROGRESS, Old, OldTable, Program
from cht_sync.migrate.plan import apart
from cht_sync.migrate.rows import rows_of, those_that_are_none
from cht_sync.migrate.run import how_far, how_synced
from cht_sync.reconcile.couch import Couch
from cht_sync.reconcile.databases import sides
from cht_sync.reconcile.state import State
from cht_sync.reconcile.table import ROWS_AT_ONCE, Table
from cht_sync.settings import Settings
from cht_sync.transform import couch2pg

EXAMPLES = 1_000
"""Ids that are named of each kind."""
ASKED_AT_ONCE = 1_000
OF_NO_INTEREST = (PROGRESS, "_dataemon", "dbt_results")
"""Relations beside old tables that say how the old program ran."""


class Kind(StrEnum):
    """What became of a document of an old table."""

    SAME = "same"
    MOVED_ON = "moved_on"
    """Ours is another revision, or will be once the pipeline goes on: CouchDB has another one, too."""
    AWAITED = "awaited"
    """We have no row, and it was written after the position from which its pipeline goes on."""
    DELETED = "deleted"
    """Deleted since; ours is a tombstone."""
    UNKNOWN = "unknown"
    """CouchDB does not have it in a database that is synced: purged, or of one that is not."""
    CHANGED = "changed"
    """The same revision with another content."""
    MISSING = "missing"
    """CouchDB has this very revision, and we have no row."""

    @property
    def is_fault(self) -> bool:
        """Whether something is wrong."""
        return self in (Kind.CHANGED, Kind.MISSING)


@dataclass
class Compared:
    """One old table: how many documents of each kind, and the ids of some.

    `ours_alone` are living rows that it lacks; `no_documents` its rows without document, id or revision.
    """

    relation: str
    databases: tuple[str, ...]
    contents: bool
    """Whether contents were compared; where documents are redacted, only revisions are."""
    counts: Counter[Kind] = field(default_factory=Counter)
    examples: dict[Kind, list[str]] = field(default_factory=dict)
    ours_alone: int = 0
    no_documents: int = 0

    def enter(self, kind: Kind, document_id: str) -> None:
        """Count one."""
        self.counts[kind] += 1
        named = self.examples.setdefault(kind, [])
        if kind is not Kind.SAME and len(named) < EXAMPLES:
            named.append(document_id)

    @property
    def same(self) -> bool:
        """Whether nothing is wrong."""
        return not any(kind.is_fault for kind in self.counts if self.counts[kind])

    @property
    def is_alike(self) -> bool:
        """Whether both sides have the very same documents."""
        others = any(count for kind, count in self.counts.items() if kind is not Kind.SAME)
        return self.contents and not self.ours_alone and not others


@dataclass(frozen=True)
class Check:
    """All that was compared. `views_note` says why no views were, or is None; `unfinished` are databases
    whose rows are not all taken over; `all_moved`: no old table, or other database in one, was left."""

    tables: tuple[Compared, ...]
    views: tuple[ViewFinding, ...]
    views_note: str | None
    unfinished: tuple[str, ...]
    all_moved: bool
    broken: tuple[tuple[str, str], ...] = ()
    """Those of `unfinished` that can only be loaded, each with its old table."""

    @property
    def is_alike(self) -> bool:
        """Whether both sides have the very same documents, so that views may not differ."""
        return self.all_moved and all(one.is_alike for one in self.tables)

    @property
    def same(self) -> bool:
        """Whether nothing is wrong: views may differ where documents do."""
        if self.unfinished or not all(one.same for one in self.tables):
            return False
        return not (self.is_alike and any(one.differs for one in self.views))


def compare(settings: Settings, moves: Moves) -> Check:
    """Compare each old table with what was made of it, and the views of both. Raises ChtSyncError."""
    by_table: dict[str, list[Move]] = {}
    for move in moves.moves:
        by_table.setdefault(move.table.relation, []).append(move)
    tables = [_compare_table(settings, ones[0].table, ones) for ones in by_table.values()]
    views, note = _compare_views(settings, moves.old)
    unfinished = tuple(one.database for one in moves.moves if _is_unfinished(settings, one.database))
    broken = apart(settings, moves).broken
    gone = tuple(database for database, _relation in broken)
    return Check(tuple(tables), tuple(views), note, (*unfinished, *gone), not moves.left, broken)


def _is_unfinished(settings: Settings, database: str) -> bool:
    """Whether rows are still to be taken over."""
    with sides(settings, database, writing=True) as (_couch, table):
        taken = how_far(table)
        return not taken.ended if taken is not None else how_synced(table) is None


def _compare_views(settings: Settings, old: Old) -> tuple[list[ViewFinding], str | None]:
    """couch2pg's views with those in their place; what else is beside old tables with dbt's models."""
    of_couch2pg = old.program is Program.COUCH2PG
    new_schema = couch2pg.SCHEMA if of_couch2pg else settings.dbt_postgres_schema
    own = [*(table.name for table in old.tables), *OF_NO_INTEREST]
    with patiently_connected(settings, "views") as connection:
        with connection.cursor() as cursor:
            name = sql.Identifier(new_schema).as_string(cursor)
            cursor.execute("select to_regnamespace(%s) is not null", (name,))
            if cursor.fetchall() == [(False,)]:
                how = "cht-sync migrate views makes it" if of_couch2pg else "dbt makes it at its first run"
                return [], f"not compared, since there is no schema {new_schema}: {how}"
            if of_couch2pg and couch2pg.may_refresh(connection):
                cursor.execute(couch2pg.REFRESH)
        found = compare_views(
            connection,
            old_schema=old.schema,
            new_schema=new_schema,
            old_program=old.program,
            without=own,
        )
    return found, None


def _compare_table(settings: Settings, table: OldTable, moves: Sequence[Move]) -> Compared:
    compared = Compared(
        table.relation, tuple(one.database for one in moves), not any(one.filtered for one in moves)
    )
    couches = [Couch(settings, one.database, threading.Event()) for one in moves]
    awaited: set[str] | None = None
    try:
        with patiently_connected(settings, table.relation) as connection:
            found = 0
            absent: dict[str, State] = {}

            def judge() -> None:
                nonlocal awaited
                if absent and awaited is None:
                    awaited = _awaited(connection, settings, moves, couches)
                _judge_absent(absent, couches, awaited or set(), compared)
                absent.clear()

            for kind, document_id, state in _looked_up(connection, settings, table, moves, compared.contents):
                found += kind in (Kind.SAME, Kind.MOVED_ON, Kind.CHANGED) and not state.deleted
                if kind is not Kind.MISSING:
                    compared.enter(kind, document_id)
                    continue
                absent[document_id] = state
                if len(absent) == ASKED_AT_ONCE:
                    judge()
            judge()
            compared.ours_alone = max(_number(connection, _living(settings, moves)) - found, 0)
            compared.no_documents = _number(connection, those_that_are_none(table))
    finally:
        for couch in couches:
            couch.close()
    return compared


def _awaited(
    connection: Connection, settings: Settings, moves: Sequence[Move], couches: Sequence[Couch]
) -> set[str]:
    """The documents that the pipelines have still to bring."""
    ids: set[str] = set()
    for move, couch in zip(moves, couches, strict=True):
        source = settings.source(move.database)
        table = Table(connection, settings.postgres_schema, move.database, source)
        if table.reading().sequence is not None:
            changed = Changed(couch, table)
            changed.begin()
            ids |= changed.look()
    return ids


def _judge_absent(
    absent: dict[str, State], couches: Sequence[Couch], awaited: Set[str], compared: Compared
) -> None:
    """What is not in our tables: is it missing, or is it right that it is not there (yet)."""
    if not absent:
        return
    answers = [couch.states(list(absent)) for couch in couches]
    for document_id, state in absent.items():
        known = [one[document_id] for one in answers if document_id in one]
        if state in known:
            compared.enter(Kind.AWAITED if document_id in awaited else Kind.MISSING, document_id)
        elif known:
            compared.enter(Kind.MOVED_ON, document_id)
        else:
            compared.enter(Kind.UNKNOWN, document_id)


def _looked_up(
    connection: Connection, settings: Settings, table: OldTable, moves: Sequence[Move], contents: bool
) -> Iterator[tuple[Kind, str, State]]:
    """Yield each document of the old table, as it was there, with the kind that our tables make it."""
    sources = [source for one in moves for source in one.sources]
    query = sql.SQL("""
        select case
            when new._id is null then 'missing'
            when new._rev is distinct from old._rev then case when new._deleted and not old._deleted
              then 'deleted' else 'moved_on' end
            when new._deleted = old._deleted and (not %(contents)s or new.doc = old.doc) then 'same'
            -- What jsonb cannot hold the old programs have cut out, and we have replaced.
            when exists (select from {replaced} as note
              where note.doc_id = new._id collate "default" and note.rev = new._rev) then 'same'
            else 'changed' end,
          old._id, old._rev, old._deleted
        from ({old}) as old left join lateral (
          select * from ({new}) as ours where ours._id = old._id
          order by ours._rev = old._rev desc limit 1) as new on true
        where new._id is not null or not old._deleted
    """).format(
        old=rows_of(table, sources),
        new=_ours(settings, moves),
        replaced=sql.Identifier(settings.postgres_schema, "replaced_values"),
    )
    connection.autocommit = False  # the driver wants it so for a cursor of the server's
    try:
        with connection, connection.cursor("compared") as cursor:
            cursor.itersize = ROWS_AT_ONCE
            cursor.execute(query, {"contents": contents, "sources": sources})
            for kind, document_id, revision, deleted in cursor:
                yield Kind(kind), document_id, State(revision, deleted)
    finally:
        if not connection.closed:
            connection.autocommit = True


def _ours(settings: Settings, moves: Sequence[Move]) -> sql.Composable:
    return sql.SQL(" union all ").join(
        sql.SQL("select _id, _rev, _deleted, doc from {}").format(
            sql.Identifier(settings.postgres_schema, one.database)
        )
        for one in moves
    )


def _living(settings: Settings, moves: Sequence[Move]) -> sql.Composable:
    return sql.SQL("select count(*) from ({}) as ours where not _deleted").format(_ours(settings, moves))


def _number(connection: Connection, query: sql.Composable) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchall()[0][0])
