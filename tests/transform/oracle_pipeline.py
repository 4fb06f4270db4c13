"""What writes documents in the oracle: transactions of two pipelines at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection

PATIENCE = 60
"""Seconds."""


@dataclass(frozen=True)
class Change:
    """A revision of a document, as the feed has it."""

    doc_id: str
    revision: str
    doc: Any
    deleted: bool
    source: str | None


@dataclass
class Pipeline:
    """Writes to one database, on a thread of its own: whoever has to wait for the other waits there."""

    database: str
    connection: Connection
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    under_way: list[Future[None]] = field(default_factory=list)
    open: bool = False
    written: bool = False

    @property
    def holds_the_line(self) -> bool:
        """Whether others' writes wait for the end of this one's transaction."""
        return self.open and self.written

    def start(self, work: Callable[[], None]) -> None:
        self.under_way.append(self.thread.submit(work))

    def settle(self) -> None:
        for work in self.under_way:
            work.result(PATIENCE)
        self.under_way.clear()

    def write(self, changes: Sequence[Change]) -> None:
        """One transaction, unless one is open."""
        self.written = True
        commit = not self.open
        self.start(lambda: self._write(changes, commit=commit))

    def end(self, *, keep: bool) -> None:
        self.open = self.written = False
        self.start(self.connection.commit if keep else self.connection.rollback)

    def _write(self, changes: Sequence[Change], *, commit: bool) -> None:
        with self.connection.cursor() as cursor:
            for change in changes:
                cursor.execute(
                    sql.SQL("""
                        insert into {} (_id, _rev, doc, _deleted, source) values (%s, %s, %s, %s, %s)
                        on conflict (_id) do update set (_rev, doc, _deleted, source)
                          = (excluded._rev, excluded.doc, excluded._deleted, excluded.source)
                    """).format(sql.Identifier("v1", self.database)),
                    (
                        change.doc_id,
                        change.revision,
                        None if change.doc is None else json.dumps(change.doc),
                        change.deleted,
                        change.source,
                    ),
                )
        if commit:
            self.connection.commit()
