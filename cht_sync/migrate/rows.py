"""Old rows in SQL: each document's newest, under the names of our columns."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2 import sql

from cht_sync.migrate.old import OldTable

RANGES_OF_TIDS = 14_00_00
"""The first version of PostgreSQL that reads a range of blocks without reading the whole table."""
MOST_ROWS_OF_A_BLOCK = 291
"""Of 8 KiB, as PostgreSQL's MaxHeapTuplesPerPage says."""
EVERYWHERE = sql.SQL("true")
IS_DOCUMENT = sql.SQL("_id <> '' and _rev is not null and jsonb_typeof(doc) = 'object'")


def rows_of(table: OldTable, sources: Sequence[str], where: sql.Composable = EVERYWHERE) -> sql.Composable:
    """A query for `_id`, `_rev`, `_deleted` and `doc`; rows that are no document are left out.

    With `sources` it has the parameter of that name, and gives the rows that say one of them, or none. A
    table without a unique index may have a document more than once.
    """
    shape = table.shape
    return sql.SQL("""
        select _id, _rev, _deleted, doc
        from (select ({id}) collate "C" as _id, {rev} as _rev, coalesce({deleted}, false) as _deleted, doc
          from {table} as old where {where} and {source} and {newest}) as found
        where {is_document}
    """).format(
        is_document=IS_DOCUMENT,
        id=table.expression(shape.id),
        rev=table.expression(shape.rev),
        deleted=table.expression(shape.deleted),
        newest=table.expression(shape.newest),
        table=table.identifier,
        where=where,
        source=sql.SQL("(old.source = any(%(sources)s) or old.source is null)" if sources else "true"),
    )


def rows_left_out(table: OldTable, sources: Sequence[str]) -> sql.Composable:
    """A query for how many rows `rows_of` leaves out: such as are no document, and such of other sources.

    The first are without a document, or without id or revision in it. `sources` as there.
    """
    shape = table.shape
    return sql.SQL("""
        select count(*) filter (where ({is_document}) is not true), count(*) filter (where elsewhere)
        from (select {id} as _id, {rev} as _rev, doc, {elsewhere} as elsewhere from {table} as old) as found
    """).format(
        id=table.expression(shape.id),
        rev=table.expression(shape.rev),
        table=table.identifier,
        is_document=IS_DOCUMENT,
        elsewhere=sql.SQL("old.source <> all(%(sources)s)" if sources else "false"),
    )


def in_blocks(version: int) -> sql.Composable:
    """The condition that a row is in one of the blocks from `first` up to before `after`, two parameters.

    `version` is of PostgreSQL, as its driver says it.
    """
    if version >= RANGES_OF_TIDS:
        return sql.SQL(
            "old.ctid >= ('(' || %(first)s || ',0)')::tid and old.ctid < ('(' || %(after)s || ',0)')::tid"
        )
    return sql.SQL("""
        old.ctid = any(array(select ('(' || block || ',' || place || ')')::tid
          from generate_series(%(first)s, %(after)s - 1) as block, generate_series(1, {}) as place))
    """).format(sql.Literal(MOST_ROWS_OF_A_BLOCK))
