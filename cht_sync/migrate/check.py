"""Old and new, document by document, and then view by view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg2 import sql

from cht_sync.migrate.compared_tables import compare_table
from cht_sync.migrate.compared_views import compare_views
from cht_sync.migrate.connection import patiently_connected
from cht_sync.migrate.judging import Side
from cht_sync.migrate.kinds import Compared
from cht_sync.migrate.moves import Move, Moves, databases_in, has_documents, is_filtered
from cht_sync.migrate.old import PROGRESS, Old, OldTable, Program
from cht_sync.migrate.plan import apart
from cht_sync.migrate.rights import no_temporary_tables
from cht_sync.migrate.run import how_far, how_synced
from cht_sync.migrate.view_finding import ViewFinding
from cht_sync.reconcile.databases import sides
from cht_sync.settings import Settings
from cht_sync.transform import couch2pg

OF_NO_INTEREST = (PROGRESS, "_dataemon", "dbt_results")
"""Relations beside old tables that say how the old program ran."""


@dataclass(frozen=True)
class Views:
    """What was found of views. `note` says why none were compared, or is None; `fault`: that is wrong."""

    findings: tuple[ViewFinding, ...] = ()
    note: str | None = None
    fault: bool = False


@dataclass(frozen=True)
class Check:
    """All that was compared. `unfinished` are databases whose rows are not all taken over, `left` old tables
    with rows that are not compared."""

    tables: tuple[Compared, ...]
    views: Views
    unfinished: tuple[str, ...]
    left: tuple[str, ...]
    broken: tuple[tuple[str, str], ...] = ()
    """Those of `unfinished` that can only be loaded, each with its old table."""

    @property
    def same(self) -> bool:
        """Whether nothing is wrong."""
        if self.unfinished or self.views.fault or not all(one.same for one in self.tables):
            return False
        return not any(self.is_fault(one) for one in self.views.findings)

    def is_fault(self, view: ViewFinding) -> bool:
        """Whether a view is not as it must be: it may have other rows where there are other documents."""
        return view.fault or (view.differs and not any(self.excuses(view)))

    def excuses(self, view: ViewFinding) -> Iterator[str]:
        """Why a view may have other rows than the old one: what is true of the tables that it reads."""
        for one in self.tables:
            if not view.may_read(one.relation):
                continue
            if one.differs:
                yield "Documents are not the same on both sides"
            elif not one.contents:
                yield "Documents are redacted here"
        yield from (f"{one} is not taken over" for one in self.left if view.may_read(one))


def compare(settings: Settings, moves: Moves) -> Check:
    """Compare each old table with what was made of it, and the views of both. Raises ChtSyncError."""
    pairs = [(table, _sides(settings, moves, table)) for table in moves.old.tables]
    tables = [compare_table(settings, table, ours) for table, ours in pairs if ours]
    left = tuple(
        table.relation
        for table, ours in pairs
        if not ours and not table.empty and has_documents(table, settings)
    )
    views = _compare_views(settings, moves.old)
    unfinished = tuple(one.database for one in moves.moves if _is_unfinished(settings, one.database))
    broken = apart(settings, moves).broken
    gone = tuple(database for database, _relation in broken)
    return Check(tuple(tables), views, (*unfinished, *gone), left, broken)


def _sides(settings: Settings, moves: Moves, table: OldTable) -> list[Side]:
    """The databases whose rows may be there: those that are moved, and those that their pipelines read."""
    moved = [move for move in moves.moves if move.table == table]
    if table.kind != "r" or not table.readable or not (moved or has_documents(table, settings)):
        return []
    elsewhere = {move.database for move in moves.moves}
    others = [
        one for one in databases_in(table, moves.old, settings, settings.couchdb_dbs) if one not in elsewhere
    ]
    return [
        *(Side(move.database, move.sources, move.filtered, moved=True) for move in moved),
        *(Side(one, _sources(one, moved), is_filtered(settings, one), moved=False) for one in others),
    ]


def _sources(database: str, beside: list[Move]) -> tuple[str, ...]:
    """What `source` says of a database's rows that the old progress does not name, going by others."""
    servers = {source.rpartition("/")[0] for move in beside for source in move.sources}
    return tuple(f"{server}/{database}" for server in sorted(servers))


def _is_unfinished(settings: Settings, database: str) -> bool:
    """Whether rows are still to be taken over."""
    with sides(settings, database, writing=True) as (_couch, table):
        taken = how_far(table)
        return not taken.ended if taken is not None else how_synced(table) is None


def _compare_views(settings: Settings, old: Old) -> Views:
    """couch2pg's views with those in their place; what else is beside old tables with dbt's models."""
    of_couch2pg = old.program is Program.COUCH2PG
    new_schema = couch2pg.SCHEMA if of_couch2pg else settings.dbt_postgres_schema
    # A view may have the columns of a table of documents, as raw_contacts has.
    own = [one.name for one in old.tables if one.kind not in ("v", "m") or has_documents(one, settings)]
    with patiently_connected(settings, "views") as connection:
        with connection.cursor() as cursor:
            name = sql.Identifier(new_schema).as_string(cursor)
            cursor.execute("select to_regnamespace(%s) is not null", (name,))
            if cursor.fetchall() == [(False,)]:
                how = "cht-sync migrate views makes it" if of_couch2pg else "dbt makes it at its first run"
                return Views(note=f"not compared, since there is no schema {new_schema}: {how}")
        if of_couch2pg and (lacking := no_temporary_tables(connection)) is not None:
            return Views(note=f"not compared: {lacking.message}. {lacking.hint}", fault=True)
        if of_couch2pg and couch2pg.may_refresh(connection, settings.postgres_schema):
            with connection.cursor() as cursor:
                cursor.execute(couch2pg.REFRESH)
        found = compare_views(
            connection,
            old_schema=old.schema,
            new_schema=new_schema,
            old_program=old.program,
            without=[*own, *OF_NO_INTEREST],
        )
    return Views(tuple(found))
