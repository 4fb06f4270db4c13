"""The table of dead letters in the operator's hand: list, show, replay, drop. Nothing is ever deleted."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extras import RealDictCursor

from cht_sync.errors import ChtSyncError, DocumentRefused
from cht_sync.reconcile.databases import refuse_stranger, sides
from cht_sync.reconcile.repair import prepare
from cht_sync.reconcile.row import RowMaker
from cht_sync.reconcile.writing import Outcome, write
from cht_sync.settings import Settings

COLUMNS = ("id", "database", "doc_id", "rev", "seq", "code", "reason", "at", "closed_at", "closed_by")
ALL_COLUMNS = (*COLUMNS, "source", "fingerprint", "document")
TRIES = 3
"""So often a replay looks again when the pipeline wrote the row in the same moment."""

NAMES_NO_DOCUMENT = "names no document, so that nothing can be fetched; look at it with: dead-letters show"

Letter = dict[str, Any]


class ClosedBy(StrEnum):
    """Why a letter is closed."""

    STORED = "stored"
    DROPPED = "dropped"


def listed(connection: Connection, schema: str, database: str | None, *, closed: bool) -> list[Letter]:
    """Return the letters without their documents, oldest first; closed ones only when asked for."""
    wanted = "where (%(closed)s or closed_at is null) and (%(database)s is null or database = %(database)s)"
    return _select(connection, schema, COLUMNS, wanted, {"closed": closed, "database": database})


def shown(connection: Connection, schema: str, letter_id: int) -> Letter:
    """Return everything of one letter. Raises ChtSyncError where there is none."""
    return _found(connection, schema, [letter_id], ALL_COLUMNS)[0]


def drop(connection: Connection, schema: str, ids: Sequence[int]) -> int:
    """Close these letters without storing anything; return how many were open. Raises ChtSyncError."""
    _found(connection, schema, ids, COLUMNS)
    return _close(connection, schema, ids, ClosedBy.DROPPED)


def open_ids(connection: Connection, schema: str, database: str | None) -> list[int]:
    """Return the letters that could be replayed."""
    return [letter["id"] for letter in listed(connection, schema, database, closed=False)]


def known(connection: Connection, schema: str, fingerprints: Sequence[str]) -> dict[str, int]:
    """Return those of the fingerprints that the table has, open or closed, with the letters' numbers."""
    query = sql.SQL("select fingerprint, id from {} where fingerprint = any(%s)").format(
        sql.Identifier(schema, "dead_letters")
    )
    with connection.cursor() as cursor:
        cursor.execute(query, (list(fingerprints),))
        return dict(cursor.fetchall())


class Replay:
    """Replays letters: the document as it is now becomes the row, as a repair makes it."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._makers: dict[str, RowMaker] = {}

    def replay(self, letter_id: int) -> str | None:
        """Store the letter's document and close the letter; return why not. Raises ChtSyncError."""
        schema = self._settings.postgres_schema
        letter = _found(self._connection, schema, [letter_id], COLUMNS)[0]
        database, document_id = letter["database"], letter["doc_id"]
        if letter["closed_at"] is not None:
            return f"is closed already ({letter['closed_by']})"
        if not document_id:
            return NAMES_NO_DOCUMENT
        problem = self._store_synced(database, document_id)
        if problem is None:
            _close(self._connection, schema, [letter_id], ClosedBy.STORED)
        return problem

    def replay_copy(self, fingerprint: str, database: str, document_id: str | None) -> str | None:
        """Store the document of a letter that only a file has; return why not. Raises ChtSyncError."""
        number = known(self._connection, self._settings.postgres_schema, [fingerprint]).get(fingerprint)
        if number is not None:
            return f"is letter {number} of the table; replay that one"
        if not document_id:
            return NAMES_NO_DOCUMENT
        return self._store_synced(database, document_id)

    def _store_synced(self, database: str, document_id: str) -> str | None:
        if database not in self._settings.couchdb_dbs:
            return f"is of {database}, which is none of COUCHDB_DBS"
        return self._store(database, document_id)

    def _store(self, database: str, document_id: str) -> str | None:
        maker = self._makers.get(database) or RowMaker(self._settings, database)
        self._makers[database] = maker
        with sides(self._settings, database, writing=True) as (couch, table):
            refuse_stranger(couch, table)
            for _try in range(TRIES):
                row = table.states([document_id]).get(document_id)
                state = couch.states([document_id]).get(document_id)
                if state is None:
                    return "is of a document that CouchDB does not know; close it with: dead-letters drop"
                try:
                    replacement = prepare(document_id, state, row, couch, maker)
                except DocumentRefused as refusal:
                    return f"cannot be made into a row: {refusal}"
                if replacement is None:
                    if row is not None and row == state:
                        return None
                    continue
                outcome = write(table, [replacement])[0]
                if outcome is Outcome.WRITTEN:
                    return None
                if outcome is Outcome.REFUSED:
                    return "is refused by PostgreSQL again"
        return "changes while it is replayed, or a filter drops it"


def _found(connection: Connection, schema: str, ids: Sequence[int], columns: Sequence[str]) -> list[Letter]:
    letters = _select(connection, schema, columns, "where id = any(%(ids)s)", {"ids": list(ids)})
    unknown = sorted(set(ids) - {letter["id"] for letter in letters})
    if unknown:
        raise ChtSyncError(
            f"there is no dead letter {', '.join(map(str, unknown))}",
            hint="List them with: cht-sync dead-letters list --all",
        )
    return letters


def _select(
    connection: Connection, schema: str, columns: Sequence[str], where: str, values: dict[str, Any]
) -> list[Letter]:
    query = sql.SQL("select {} from {} {} order by id").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.Identifier(schema, "dead_letters"),
        sql.SQL(where),
    )
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(query, values)
        return [dict(row) for row in cursor.fetchall()]


def _close(connection: Connection, schema: str, ids: Sequence[int], by: ClosedBy) -> int:
    query = sql.SQL("""
        update {} set closed_at = clock_timestamp(), closed_by = %s where id = any(%s) and closed_at is null
    """).format(sql.Identifier(schema, "dead_letters"))
    with connection.cursor() as cursor:
        cursor.execute(query, (by.value, list(ids)))
        return int(cursor.rowcount)
