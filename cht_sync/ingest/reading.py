"""The SELECT behind a GET, one statement with one row as its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from psycopg2 import sql

from cht_sync.ingest.query import Filter, Query
from cht_sync.ingest.schema_cache import Table
from cht_sync.ingest.sqltext import (
    EMPTY,
    ROW,
    Statement,
    aliased,
    as_json,
    listed,
    qualified,
    table_name,
)


class Found(NamedTuple):
    """What a select answers: rows found, rows without `limit` and `offset` (None: not asked for),
    and the rows as JSON text."""

    rows: int
    total: int | None
    body: str


def select(table: Table, query: Query, *, count_all: bool, single: bool) -> Statement:
    """Build the SELECT of a GET; its row is a `Found`."""
    where, values = _where(table, query.filters)
    order = listed(
        sql.SQL(" ").join([qualified(table, one.column), *map(sql.SQL, one.modifiers)]) for one in query.order
    )
    total = sql.SQL("(SELECT count(*) FROM {} {})").format(table_name(table), where)
    text = sql.SQL(
        "SELECT count(*), {total}, {body} FROM ("
        "SELECT {shown} FROM {table} {where} {order} LIMIT %s OFFSET %s) AS {row}"
    ).format(
        total=total if count_all else sql.SQL("NULL::bigint"),
        body=as_json(single=single),
        shown=listed(_shown(table, one.column, one.alias) for one in query.select),
        table=table_name(table),
        where=where,
        order=sql.SQL("ORDER BY {}").format(order) if query.order else EMPTY,
        row=ROW,
    )
    repeated = values if count_all else ()
    return Statement(text, (*repeated, *values, query.limit, query.offset))


def _where(table: Table, filters: Sequence[Filter]) -> tuple[sql.Composable, tuple[str, ...]]:
    if not filters:
        return EMPTY, ()
    conditions = sql.SQL(" AND ").join(_condition(table, one) for one in filters)
    return sql.SQL("WHERE {}").format(conditions), tuple(value for one in filters for value in one.values)


def _condition(table: Table, one: Filter) -> sql.Composable:
    column = qualified(table, one.column)
    negation = sql.SQL("NOT " if one.negated else "")
    if one.operator == "IN":
        # PostgreSQL has no empty IN list.
        operand = "IN (" + ", ".join(["%s"] * len(one.values)) + ")" if one.values else "= ANY ('{{}}')"
        return negation + sql.SQL("({} " + operand + ")").format(column)
    placeholder = " %s" if one.values else ""
    return negation + sql.SQL("({} " + one.operator + placeholder + ")").format(column)


def _shown(table: Table, column: str, alias: str | None) -> sql.Composable:
    if column == "*":
        return sql.SQL("{}.*").format(table_name(table))
    return aliased(qualified(table, column), alias)
