"""Rows on their way into the table: prepared in a temporary table, side by side; merged one worker at a time.

PostgreSQL reads their JSON while they are prepared, outside the line that all writers stand in. Merging
writes those that no writer has written since the load began.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from cht_sync.errors import DeliveryError, DocumentRefused
from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.postgrest.letters import REPLACED_VALUES, fingerprint
from cht_sync.pipeline.postgrest.row import Row, mended, rejected
from cht_sync.pipeline.postgrest.splitting import send_in_parts
from cht_sync.pipeline.postgrest.storable import is_storable_text
from cht_sync.reconcile.state import State
from cht_sync.reconcile.table import Table
from cht_sync.reconcile.writing import (
    UNSTORABLE_ID,
    enter_letter,
    insert_with,
    is_documents_fault,
    note,
    take_line,
)

STAGED = sql.Identifier("pg_temp", "cht_sync_staged")
COLUMNS = '_id, _rev, _deleted, doc, doc_as_upsert, "@version"'


class Staging:
    """The rows of one transaction. Every method raises psycopg2.Error."""

    def __init__(self, cursor: Cursor, table: Table) -> None:
        """Make the temporary table, which lasts as long as the connection; its rows as the transaction."""
        self._cursor = cursor
        self._table = table
        self._staged: list[str] = []
        self._rejected: list[Rejected] = []
        self._replaced: list[Row] = []
        self._written = self._affected = 0
        self._replaces_all = False
        cursor.execute("""
            set local client_min_messages = warning;
            create temporary table if not exists cht_sync_staged (
              _id text collate "C", _rev text, _deleted boolean, doc jsonb, doc_as_upsert boolean,
              "@version" text
            ) on commit delete rows
        """)

    def reject(self, refused: Rejected) -> None:
        """Let a document be a dead letter, unless somebody has stored it in the end."""
        self._rejected.append(refused)

    def add(self, rows: Sequence[Row]) -> None:
        """Prepare rows; what PostgreSQL refuses for good is mended or becomes a dead letter."""
        storable = [row for row in rows if is_storable_text(row.document_id)]
        for row in rows:
            if not is_storable_text(row.document_id):
                reason = "its _id holds a character that PostgreSQL cannot store"
                self.reject(rejected(row, DocumentRefused(reason, code=UNSTORABLE_ID)))
        send_in_parts(storable, self._try, self._remedy)

    def adopt(self, query: sql.Composable, values: Mapping[str, Any]) -> dict[str, State]:
        """Prepare what a query gives, whose columns are COLUMNS; return the ids and what they are rows of."""
        prepare = sql.SQL("insert into {} ({}) {} returning _id, _rev, _deleted")
        self._cursor.execute(prepare.format(STAGED, sql.SQL(COLUMNS), query), values)
        adopted = {one: State(revision, deleted) for one, revision, deleted in self._cursor.fetchall()}
        self._staged += adopted
        return adopted

    def merge(self, without: Collection[str], seen: Mapping[str, State | None] | None = None) -> int:
        """Write them, but not those `without`, which the pipeline brings; return how many rows differ now.

        Rows that were written since the load began stay. With `seen`, instead, those that are not any more
        what was seen. From here to the transaction's end nobody else writes.
        """
        take_line(self._cursor, self._table)
        self._replaces_all = seen is not None
        moved_on = self._written_since_the_start() if seen is None else self._moved_on(seen)
        skipped = {*without, *moved_on}
        self._written = 0
        send_in_parts([one for one in self._staged if one not in skipped], self._write, self._bury)
        self._enter_notes({*self._staged} - skipped)
        self._staged.clear()
        self._enter_letters(skipped)
        return self._written

    def _moved_on(self, seen: Mapping[str, State | None]) -> set[str]:
        now = self._table.states(list(seen))
        return {one for one, state in seen.items() if now.get(one) != state}

    def _written_since_the_start(self) -> set[str]:
        """Of those that are more than a row; of all others the statement that writes them sees to it."""
        ids = [one.document_id or "" for one in self._rejected] + [row.document_id for row in self._replaced]
        query = sql.SQL("""
            select _id from {table} where _id = any(%(ids)s)
              and saved_timestamp > (select stamp from {loads} where source = %(source)s)
        """).format(table=self._table.name, loads=self._loads)
        known = [one for one in ids if is_storable_text(one)]
        self._cursor.execute(query, {"ids": known, "source": self._table.source})
        return {one for (one,) in self._cursor.fetchall()}

    @property
    def _loads(self) -> sql.Identifier:
        return sql.Identifier(self._table.schema, "cht_sync_loads")

    def _try(self, rows: Sequence[Row], _last: bool) -> DeliveryError | None:
        if not rows:
            return None
        body = b"".join((b"[", b",".join([row.body for row in rows]), b"]"))
        prepare = sql.SQL("""
            insert into {staged} ({columns})
              select _id, _rev, coalesce(_deleted, false), doc, doc_as_upsert, "@version"
              from json_to_recordset(%s) as _(_id text, _rev text, _deleted boolean, doc jsonb,
                doc_as_upsert boolean, "@version" text)
        """).format(staged=STAGED, columns=sql.SQL(COLUMNS))
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            return DocumentRefused(str(error), code="22021")
        refusal = self._attempt(prepare, (text,))
        if refusal is None:
            self._staged += [row.document_id for row in rows]
            self._replaced += [row for row in rows if row.replaced]
        return refusal

    def _write(self, ids: Sequence[str], _last: bool) -> DeliveryError | None:
        if not ids:
            return None
        upsert = sql.SQL("""
            insert into {table} as stored ({columns}, source)
              select {columns}, %(source)s from {staged} where _id = any(%(ids)s) order by _id
            on conflict (_id) do update set _rev = excluded._rev, _deleted = excluded._deleted,
              doc = excluded.doc, doc_as_upsert = excluded.doc_as_upsert,
              "@version" = excluded."@version", source = excluded.source
            where %(all)s
              or stored.saved_timestamp <= (select stamp from {loads} where source = %(source)s)
        """).format(table=self._table.name, columns=sql.SQL(COLUMNS), staged=STAGED, loads=self._loads)
        values = {"source": self._table.source, "ids": list(ids), "all": self._replaces_all}
        refusal = self._attempt(upsert, values)
        if refusal is None:
            self._written += self._affected
        return refusal

    def _bury(self, ids: Sequence[str], refusal: DeliveryError) -> Sequence[str] | None:
        """What only the table refuses: its indexes, or constraints that somebody has added."""
        if len(ids) > 1:
            return None
        query = sql.SQL("select _rev, doc::text from {staged} where _id = %s").format(staged=STAGED)
        self._cursor.execute(query, (ids[0],))
        ((revision, document),) = self._cursor.fetchall()
        self.reject(Rejected(ids[0], revision, None, refusal.code, refusal.message, document))
        return []

    def _attempt(self, statement: sql.Composable, values: Any) -> DeliveryError | None:
        """Execute it; return why a document is refused, and then nothing of it is done."""
        self._cursor.execute("savepoint attempt")
        try:
            self._cursor.execute(statement, values)
        except psycopg2.Error as error:
            if not is_documents_fault(error):
                raise
            self._cursor.execute("rollback to savepoint attempt")
            reason = (error.diag.message_primary or str(error)).strip()
            return DocumentRefused(reason, code=error.pgcode or "")
        self._affected = self._cursor.rowcount
        self._cursor.execute("release savepoint attempt")
        return None

    def _remedy(self, rows: Sequence[Row], refusal: DeliveryError) -> Sequence[Row] | None:
        better = [mended(row) for row in rows]
        if better != list(rows):
            return better
        if len(rows) > 1:
            return None
        self.reject(rejected(rows[0], refusal))
        return []

    def _enter_letters(self, without: Collection[str]) -> None:
        """Not of documents that the pipeline has brought, or brings: it judges those itself.

        What an operator has dropped is not to come back.
        """
        letters = {fingerprint(self._table.source, one): one for one in self._rejected}
        known = self._table.letters(list(letters)) if letters else {}
        for name, refused in letters.items():
            if refused.document_id not in without and name not in known:
                enter_letter(self._cursor, self._table, refused)
        self._rejected.clear()

    def _enter_notes(self, stored: Collection[str]) -> None:
        """In the line, as all do: who waits for a note must not be who has the line."""
        for row in self._replaced:
            if row.document_id in stored:
                insert_with(self._cursor, self._table, REPLACED_VALUES, note(self._table, row))
        self._replaced.clear()
