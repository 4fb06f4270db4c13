"""Which old table each database's rows are in.

couch2pg put all databases but three kinds into one table, without saying which row is whose; cht-sync 2 says
it in `source`, but for rows of its first versions. So CouchDB is asked: a row is a database's where it has
the revision that CouchDB has there. Rows of another server, of documents that were purged since, or that the
earlier program has left behind, are in no database then, and stay where they are.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection

from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.migrate.old import (
    KINDS,
    OF_COUCH2PG,
    PROGRESS,
    Old,
    OldSource,
    OldTable,
    Program,
    table_of,
)
from cht_sync.migrate.rights import unreadable
from cht_sync.migrate.sequence import number
from cht_sync.pipeline.couchdb.events import USERS_DATABASE
from cht_sync.settings import Settings


@dataclass(frozen=True)
class Move:
    """The rows of one database, and where they are.

    `sources`: what `source` says of this database's rows; empty where there is no such column.
    """

    database: str
    table: OldTable
    sources: tuple[str, ...]
    position: OldSource | None
    """The line of the old progress that is this database's."""
    filtered: bool
    """Documents go through the pipeline's filters, which take something out of them."""


@dataclass(frozen=True)
class Moves:
    """What is to be moved; `left` are old tables that are not, with the reason, `absent` databases of which
    no old rows are known; of them `unnamed` are those that the old progress does not name."""

    old: Old
    moves: tuple[Move, ...]
    left: tuple[tuple[str, str], ...]
    absent: tuple[str, ...]
    unnamed: frozenset[str]


class NothingToMove(ChtSyncError):
    """There is no old table with rows of a database that is synced."""


def chosen_old(found: Sequence[Old], schema: str | None, database: str) -> Old:
    """The one to move from. Raises ChtSyncError where there is none, or a choice."""
    if not found:
        where = f"schema {schema}" if schema else f"the PostgreSQL database {database}"
        raise NothingToMove(
            f"{where} has no table of couch2pg, cht-sync 2 or cht-sync of 2023",
            hint="They must be in the database that POSTGRES_DB names, as ordinary tables: docs/migrating.md "
            "says how to bring them there.",
        )
    if len(found) > 1:
        names = "; ".join(f"{one.program} in schema {one.schema}" for one in found)
        raise SettingsError(
            [f"there is more than one earlier program here: {names}"],
            hint="Say which one: --from SCHEMA. Two in one schema: move the tables of one to another "
            "schema first (alter table ... set schema ...).",
        )
    return found[0]


def moves_of(connection: Connection, old: Old, settings: Settings, old_host: str | None) -> Moves:
    """Find each database's table. Raises ChtSyncError where that cannot be done, or a table not be read."""
    if not old.progress.readable:
        raise unreadable(connection, old.schema, PROGRESS)
    sources = _sources_of(old, settings, old_host)
    known = tuple(dict.fromkeys(one.database for one in sources if one.database))
    moves: list[Move] = []
    left: list[tuple[str, str]] = []
    for table in old.tables:
        if (reason := _not_movable(table, settings)) is not None:
            left += [(table.relation, reason)] if reason else []
            continue
        held = databases_in(table, old, settings, known)
        wanted = [one for one in held if one in settings.couchdb_dbs]
        if wanted and not table.readable:
            raise unreadable(connection, table.schema, table.name)
        for database in wanted:
            own = [one for one in sources if one.database == database]
            moves.append(
                Move(
                    database,
                    table,
                    tuple(one.name for one in own) if table.has_source else (),
                    # With and without a port in its address a database is there twice.
                    max(own, key=lambda one: number(one.sequence or "") or 0, default=None),
                    is_filtered(settings, database),
                )
            )
        strangers = " ".join(one for one in held if one not in settings.couchdb_dbs)
        if strangers:
            left.append((table.relation, f"rows of {strangers}, not in COUCHDB_DBS"))
        elif not wanted:
            left.append((table.relation, "no database of COUCHDB_DBS is known to be in it"))
    left += [
        (f"{old.schema}.{PROGRESS}", f"{one.name} is of another CouchDB")
        for one in old.progress.sources
        if one not in sources
    ]
    _refuse_two_tables(moves)
    if not moves:
        raise NothingToMove(
            f"schema {old.schema} has no rows of a database of COUCHDB_DBS, {' '.join(settings.couchdb_dbs)}",
            hint="; ".join(f"{relation}: {why}" for relation, why in left) or "Its tables are empty.",
        )
    moved = {move.database for move in moves}
    absent = tuple(one for one in settings.couchdb_dbs if one not in moved)
    unnamed = frozenset(absent) - {*known} if known else frozenset()
    return Moves(old, tuple(moves), tuple(left), absent, unnamed)


def _not_movable(table: OldTable, settings: Settings) -> str | None:
    """Why a table is not looked at; empty where that is not worth a word, None where it is."""
    if table.kind != "r":
        what = KINDS[table.kind]
        return f"it is {what}: copy its rows into an ordinary table" if has_documents(table, settings) else ""
    if table.empty:
        return ""
    if table.program is Program.COUCH2PG and table.name not in OF_COUCH2PG:
        return "couch2pg has no table of that name"
    return None


def _sources_of(old: Old, settings: Settings, old_host: str | None) -> list[OldSource]:
    """The lines of the progress that are about our CouchDB."""
    hosts = sorted({one.host for one in old.progress.sources if one.host})
    host = old_host or settings.couchdb_host
    if hosts and host not in hosts:
        what = "--old-host" if old_host else "COUCHDB_HOST"
        raise SettingsError(
            [f"{old.program} has read {', '.join(hosts)}, and {what} says {host}"],
            hint=f"If that is the same CouchDB under another name: --old-host {shlex.quote(hosts[0])}",
        )
    return [one for one in old.progress.sources if one.host in (host, "")]


def has_documents(table: OldTable, settings: Settings) -> bool:
    """Whether the earlier program keeps documents under this name."""
    return table.name in OF_COUCH2PG or table.name in settings.couchdb_dbs


def databases_in(table: OldTable, old: Old, settings: Settings, known: Sequence[str]) -> list[str]:
    """The databases whose rows a table may hold, synced by us or not."""
    if old.program is Program.COUCH2PG:
        return [one for one in known or settings.couchdb_dbs if table_of(one) == table.name]
    others = {one.name for one in old.tables if one.kind == "r" and one.name != table.name}
    if table.name in settings.couchdb_dbs and (others or old.program is Program.CHT_SYNC_2023):
        return [table.name]
    return [one for one in known or settings.couchdb_dbs if one not in others]


def is_filtered(settings: Settings, database: str) -> bool:
    """Whether the pipeline's filters take something out of its documents."""
    return database == USERS_DATABASE or bool(settings.redact_fields or settings.redact_hash_fields)


def _refuse_two_tables(moves: Sequence[Move]) -> None:
    by_database: dict[str, list[str]] = {}
    for move in moves:
        by_database.setdefault(move.database, []).append(move.table.relation)
    for database, relations in by_database.items():
        if len(relations) > 1:
            raise ChtSyncError(
                f"which table holds {database} cannot be told: {', '.join(relations)}",
                hint="Move the others to another schema (alter table ... set schema ...) first.",
            )
