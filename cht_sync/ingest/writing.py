"""The INSERT behind a POST, one statement with one row as its answer.

The shape is PostgREST's own: the body goes through `json_to_recordset` into one INSERT, and the
rows are counted in the same statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from psycopg2 import sql

from cht_sync.ingest.errors import outside_subset
from cht_sync.ingest.filtering import Relation
from cht_sync.ingest.media_types import Shape
from cht_sync.ingest.payload import Payload
from cht_sync.ingest.prefer import IGNORE, MERGE, Preferences
from cht_sync.ingest.query_string.parameters import Query
from cht_sync.ingest.schema_cache import Column, Table
from cht_sync.ingest.sqltext import (
    BODY,
    EMPTY,
    ROW,
    Rendered,
    Statement,
    aggregated,
    constant,
    listed,
    name,
    parenthesised,
    table_name,
    verbatim,
)

IS_NEW = sql.Identifier("pgrst is new")
"""A name that is no column's."""
WRITTEN = sql.Identifier("pgrst written")
_COUNTED = "set_config('pgrst.inserted', (coalesce({now}, 0) {step})::text, true) <> '{never}'"
_NOW = "nullif(current_setting('pgrst.inserted', true), '')::int"
ONE_MORE = sql.SQL(_COUNTED.format(now=_NOW, step="+ 1", never=0))
"""A condition that holds, and counts a row that is about to be inserted."""
ONE_LESS = sql.SQL(_COUNTED.format(now=_NOW, step="- 1", never=-1))
"""The same for a row that was there already."""
SHAPES_REMEMBERED = 256
"""Requests that differ only in their body share their SQL."""


class Written(NamedTuple):
    """What an insert answers: rows written (a trigger may have kept some back), whether any was new,
    the primary key of a single row as text, and the rows as text; None where not asked for."""

    rows: int
    any_new: bool
    key: list[str | None] | None
    body: str | None


def insert(table: Table, payload: Payload, query: Query, prefer: Preferences, shape: Shape) -> Statement:
    """Build the INSERT of a POST; its row is a `Written`.

    Raises ApiError PGRST204 for a column that the table lacks.
    """
    text = _text(table, payload.columns, query, prefer, shape, is_object=payload.is_object)
    return Statement(text, payload.body)


@lru_cache(SHAPES_REMEMBERED)
def _text(
    table: Table,
    written: tuple[str, ...],
    query: Query,
    prefer: Preferences,
    shape: Shape,
    *,
    is_object: bool,
) -> Rendered:
    columns = [table.column(column) for column in written]
    conflict = _on_conflict(table, query, prefer)
    merging = prefer.resolution == MERGE and bool(conflict)
    if merging and table.is_view:
        raise outside_subset("merge-duplicates into a view")
    # A row that an upsert has just inserted was never locked or updated by a transaction. Of a partitioned
    # table PostgreSQL does not tell that; there rows are counted on their way, as PostgREST does everywhere.
    counting = merging and table.is_partitioned
    names = listed(name(column.name) for column in columns)
    composed = sql.SQL(
        "WITH {written} AS ("
        "INSERT INTO {table} {columns} SELECT {values} FROM {rows} {counted} {conflict} RETURNING {returning}"
        ") SELECT count(*), coalesce({any_new}, false), {key}, {body} FROM {written}"
    ).format(
        written=WRITTEN,
        table=table_name(table),
        columns=parenthesised(names) if columns else EMPTY,
        values=names,
        rows=_rows(
            columns,
            is_object=is_object,
            fill_defaults=prefer.missing == "default",
        ),
        counted=sql.SQL("WHERE {}").format(ONE_MORE) if counting else EMPTY,
        conflict=_conflict_clause(conflict, prefer, columns, counting=counting),
        returning=listed(
            [
                sql.SQL("{} AS {}").format(
                    sql.SQL("xmax = 0" if merging and not counting else "true"), IS_NEW
                ),
                *(
                    sql.SQL("{}.{}").format(table_name(table), name(column))
                    for column in _returned(table, query, prefer)
                ),
            ]
        ),
        any_new=sql.SQL(f"{_NOW} > 0") if counting else sql.SQL("bool_or({})").format(IS_NEW),
        key=_single_key(table, prefer),
        body=_returned_rows(table, query, prefer, shape),
    )
    return Rendered(composed)


def _on_conflict(table: Table, query: Query, prefer: Preferences) -> tuple[str, ...]:
    """The columns that tell duplicates; none where the client has not asked for a resolution."""
    if prefer.resolution is None:
        return ()
    return table.primary_key if query.on_conflict is None else query.on_conflict


def _conflict_clause(
    conflict: tuple[str, ...], prefer: Preferences, columns: Sequence[Column], *, counting: bool
) -> sql.Composable:
    if not conflict:
        return EMPTY
    target = parenthesised(listed(map(name, conflict)))
    if prefer.resolution == IGNORE or not columns:
        return sql.SQL("ON CONFLICT {} DO NOTHING").format(target)
    changes = listed(sql.SQL("{0} = EXCLUDED.{0}").format(name(column.name)) for column in columns)
    counted = sql.SQL("WHERE {}").format(ONE_LESS) if counting else EMPTY
    return sql.SQL("ON CONFLICT {} DO UPDATE SET {} {}").format(target, changes, counted)


def _rows(columns: Sequence[Column], *, is_object: bool, fill_defaults: bool) -> sql.Composable:
    """The body as rows: a FROM item with one column for each that is written."""
    if not columns:
        # Nothing to read from the objects, but as many rows as there are objects, all defaults.
        many = "(SELECT {}::json) AS payload" if is_object else "json_array_elements({}::json) AS payload"
        return sql.SQL(many).format(BODY)
    typed = listed(sql.SQL("{} {}").format(name(column.name), verbatim(column.type)) for column in columns)
    if not fill_defaults:
        function = "json_to_record" if is_object else "json_to_recordset"
        return sql.SQL(function + "({}::json) AS payload ({})").format(BODY, typed)
    defaults = listed(
        sql.SQL("{}, ({})").format(constant(column.name), verbatim(column.default))
        for column in columns
        if column.default is not None
    )
    objects = sql.SQL("jsonb_build_array({}::jsonb)" if is_object else "{}::jsonb").format(BODY)
    return sql.SQL(
        "jsonb_to_recordset((SELECT jsonb_agg(jsonb_build_object({}) || given)"
        " FROM jsonb_array_elements({}) AS given)) AS payload ({})"
    ).format(defaults, objects, typed)


def _returned(table: Table, query: Query, prefer: Preferences) -> tuple[str, ...]:
    """The columns that the answer needs of each written row."""
    if prefer.returning == "headers-only":
        return table.primary_key
    if prefer.returning != "representation":
        return ()
    names = [one.field.name for one in query.select] + [one.field.name for one in query.order]
    return tuple(table.columns) if "*" in names else tuple(dict.fromkeys(names))


def _single_key(table: Table, prefer: Preferences) -> sql.Composable:
    if prefer.returning != "headers-only" or not table.primary_key:
        return sql.SQL("NULL::text[]")
    parts = listed(
        sql.SQL("min(to_jsonb({}) #>> '{{}}')").format(name(column)) for column in table.primary_key
    )
    return sql.SQL("CASE WHEN count(*) = 1 THEN ARRAY[{}] END").format(parts)


def _returned_rows(table: Table, query: Query, prefer: Preferences, shape: Shape) -> sql.Composable:
    if prefer.returning != "representation":
        return sql.SQL("NULL::text")
    relation = Relation(table, WRITTEN)
    shown: list[sql.Composable] = []
    for one in query.select:
        # Not "*": the rows have one column more than the table.
        shown += map(name, table.columns) if one.field.name == "*" else [relation.shown(one)]
    return sql.SQL("(SELECT {} FROM (SELECT {} FROM {} {}) AS {})").format(
        aggregated(shape), listed(shown), WRITTEN, relation.order_by(query.order), ROW
    )
