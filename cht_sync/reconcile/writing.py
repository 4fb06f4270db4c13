"""Rows written beside the living pipeline, each only where the row is still the one that was seen.

A connection of the owner's takes the line that all writers stand in, looks, and writes. It touches
neither epoch nor position. See postgres/init-db-resources.sh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from cht_sync.errors import DocumentRefused
from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.postgrest.answers import BY_CODE
from cht_sync.pipeline.postgrest.letters import DEAD_LETTERS, REPLACED_VALUES, dead_letter, replaced_value
from cht_sync.pipeline.postgrest.row import Row
from cht_sync.pipeline.postgrest.storable import is_storable_text
from cht_sync.reconcile.state import State
from cht_sync.reconcile.table import Table

UNSTORABLE_ID = "22P05"


class Outcome(StrEnum):
    """What became of a row."""

    WRITTEN = "written"
    MOVED_ON = "moved on"
    """The row is another one than was seen: the pipeline has been there, and is left its way."""
    REFUSED = "refused"
    """PostgreSQL cannot store it; it is a dead letter."""


@dataclass(frozen=True)
class Replacement:
    """A row to write, and the row that it may replace; None where there was none."""

    row: Row
    seen: State | None


def write(table: Table, replacements: Sequence[Replacement]) -> list[Outcome]:
    """Write rows in one transaction; return what became of each. Raises psycopg2.Error, then none is written.

    `table` is read over a connection of the owner's. No id may be there twice.
    """
    refused: dict[str, Rejected] = {}
    outcomes: list[Outcome] = []
    with table.connection, table.connection.cursor() as cursor:
        take_line(cursor, table)
        present = table.states([one.row.document_id for one in replacements])
        for replacement in replacements:
            row = replacement.row
            if present.get(row.document_id) != replacement.seen:
                outcomes.append(Outcome.MOVED_ON)
                continue
            refusal = _store(cursor, table, row)
            if refusal is not None:
                refused[row.document_id] = refusal
            outcomes.append(Outcome.WRITTEN if refusal is None else Outcome.REFUSED)
    for rejected in refused.values():
        reject(table, rejected)
    return outcomes


def reject(table: Table, rejected: Rejected) -> None:
    """Enter a dead letter; one that is there stays, one that was closed is open again."""
    with table.connection, table.connection.cursor() as cursor:
        enter_letter(cursor, table, rejected)


def enter_letter(cursor: Cursor, table: Table, rejected: Rejected) -> None:
    """As `reject`, within a transaction. Raises psycopg2.Error."""
    letter = dead_letter(table.source, rejected)
    cursor.execute("savepoint letter")
    try:
        insert_with(cursor, table, DEAD_LETTERS, letter)
    except psycopg2.Error as error:
        if not is_documents_fault(error):
            raise
        # What is too large for a row is too large for a letter too; CouchDB still has it.
        cursor.execute("rollback to savepoint letter")
        insert_with(cursor, table, DEAD_LETTERS, {**letter, "document": None})
    cursor.execute("release savepoint letter")


def take_line(cursor: Cursor, table: Table) -> None:
    """Wait for our turn; until the transaction ends nobody else writes.

    In the order in which all writers take locks. Raises psycopg2.Error.
    """
    cursor.execute(sql.SQL("lock table {} in row exclusive mode").format(table.name))
    state = sql.Identifier(table.schema, "cht_sync_state")
    cursor.execute(sql.SQL("select from {} for update").format(state))
    cursor.execute("select set_config('cht_sync.repair', pg_current_xact_id()::text, true)")


def _store(cursor: Cursor, table: Table, row: Row) -> Rejected | None:
    """Upsert one row; return why PostgreSQL refuses it for good."""
    if not is_storable_text(row.document_id):
        return _rejected(row, UNSTORABLE_ID, "its _id holds a character that PostgreSQL cannot store")
    upsert = sql.SQL("""
        insert into {} (_id, _rev, _deleted, doc, doc_as_upsert, "@version", source)
          select _id, _rev, coalesce(_deleted, false), doc, doc_as_upsert, "@version", %(source)s
          from json_to_record(%(body)s) as _(_id text, _rev text, _deleted boolean, doc jsonb,
            doc_as_upsert boolean, "@version" text)
        on conflict (_id) do update set _rev = excluded._rev, _deleted = excluded._deleted,
          doc = excluded.doc, doc_as_upsert = excluded.doc_as_upsert, "@version" = excluded."@version",
          source = excluded.source
    """).format(table.name)
    cursor.execute("savepoint one_row")
    try:
        cursor.execute(upsert, {"source": table.source, "body": row.body.decode()})
        if row.replaced:
            insert_with(cursor, table, REPLACED_VALUES, note(table, row))
    except psycopg2.Error as error:
        if not is_documents_fault(error):
            raise
        cursor.execute("rollback to savepoint one_row")
        return _rejected(row, error.pgcode or "", (error.diag.message_primary or str(error)).strip())
    cursor.execute("release savepoint one_row")
    return None


def _rejected(row: Row, code: str, reason: str) -> Rejected:
    document = row.original.decode(errors="backslashreplace")
    return Rejected(row.document_id, row.revision, row.sequence, code, reason, document)


def note(table: Table, row: Row) -> dict[str, Any]:
    """What was replaced, as the pipeline notes it."""
    made = replaced_value(
        table.source, row.document_id, row.revision, row.sequence, row.replaced, row.original
    )
    return {**made, "original": msgspec.json.decode(made["original"])}


def insert_with(cursor: Cursor, table: Table, relation: str, row: Mapping[str, Any]) -> None:
    """Enter a dead letter or a note; one that is there stays. Raises psycopg2.Error."""
    query = sql.SQL("insert into {} ({}) values ({}) on conflict (fingerprint) do nothing").format(
        sql.Identifier(table.schema, relation),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )
    cursor.execute(query, row)


def is_documents_fault(error: psycopg2.Error) -> bool:
    """Whether a row itself is refused, and not what was done with it."""
    code = error.pgcode or ""
    kinds = (kind for beginning, kind in BY_CODE if code.startswith(beginning))
    return next(kinds, None) is DocumentRefused
