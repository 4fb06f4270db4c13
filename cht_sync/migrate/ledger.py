"""How far the rows of each database are: the table `cht_sync_migrations`, see postgres/init-db-resources.sh.

Who moves rows holds the lock of the database's line, in the transaction that also writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from cht_sync.migrate.moves import Move
from cht_sync.reconcile.table import Table


@dataclass(frozen=True)
class Moved:
    """How far it is. `read` rows were this database's; `moved` of them were written, the others there."""

    relation: str
    filenode: int
    next_block: int
    read: int
    moved: int
    sequence: str | None
    ended: bool


@dataclass(frozen=True)
class Begun:
    """A move of one database: of which table, and how many rows it has read.

    `seconds_idle` have passed since rows were read. `handed_over`: to its pipeline, or loaded otherwise.
    """

    relation: str
    read: int
    seconds_idle: float
    handed_over: bool


class MigrationLedger:
    """One database's line. Every method raises psycopg2.Error."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def begin(self, cursor: Cursor, move: Move, sequence: str | None) -> None:
        """Begin; where it was begun, that stays."""
        self._execute(
            cursor,
            """
            insert into {} (source, database, relation, filenode, seq)
              values (%(source)s, %(database)s, %(relation)s, %(filenode)s, %(seq)s)
            on conflict (source) do nothing
            """,
            database=move.database,
            relation=move.table.relation,
            filenode=move.table.filenode,
            seq=sequence,
        )

    def state(self, cursor: Cursor, *, lock: bool = False) -> Moved | None:
        """How far it is; None where it was never begun. With `lock`, nobody else goes on until the end."""
        if lock:
            self._execute(cursor, "select from {} where source = %(source)s for update")
        self._execute(
            cursor,
            """
            select relation, filenode::bigint, next_block, read, moved, seq, ended_at is not null from {}
            where source = %(source)s
            """,
        )
        row = cursor.fetchone()
        return Moved(*row) if row else None

    def advance(self, cursor: Cursor, *, filenode: int, next_block: int, read: int, moved: int) -> None:
        """Say what a batch has read and moved."""
        self._execute(
            cursor,
            """
            update {} set filenode = %(filenode)s, next_block = %(next_block)s, read = read + %(read)s,
              moved = moved + %(moved)s, advanced_at = clock_timestamp()
            where source = %(source)s
            """,
            filenode=filenode,
            next_block=next_block,
            read=read,
            moved=moved,
        )

    def end(self, cursor: Cursor) -> None:
        """All rows are moved."""
        self._execute(cursor, "update {} set ended_at = clock_timestamp() where source = %(source)s")

    @staticmethod
    def begun(cursor: Cursor, schema: str) -> dict[str, Begun]:
        """What became of each database whose move was begun. Raises psycopg2.Error."""
        statement = """
            select database, relation, read, extract(epoch from clock_timestamp() - advanced_at)::float8,
              exists (select from {} as load where load.source = migration.source)
            from {} as migration order by 1
        """
        tables = (sql.Identifier(schema, name) for name in ("cht_sync_loads", "cht_sync_migrations"))
        cursor.execute(sql.SQL(statement).format(*tables))
        return {database: Begun(*others) for database, *others in cursor.fetchall()}

    def _execute(self, cursor: Cursor, statement: str, **values: Any) -> None:
        name = sql.Identifier(self._table.schema, "cht_sync_migrations")
        cursor.execute(sql.SQL(statement).format(name), {"source": self._table.source, **values})
