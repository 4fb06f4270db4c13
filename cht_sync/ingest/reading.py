"""The SELECT behind a GET, one statement with one row as its answer."""

from __future__ import annotations

from typing import NamedTuple

from psycopg2 import sql

from cht_sync.ingest.filtering import Relation
from cht_sync.ingest.media_types import Shape
from cht_sync.ingest.query_string.parameters import Query
from cht_sync.ingest.query_string.window import EVERYTHING, Window
from cht_sync.ingest.schema_cache import Table
from cht_sync.ingest.sqltext import EMPTY, ROW, Statement, aggregated, clause, listed, table_name

COUNTED = sql.Identifier("pgrst counted")


class Found(NamedTuple):
    """What a select answers: rows found, rows without `limit` and `offset` (None: not asked for),
    and the rows as text."""

    rows: int
    total: int | None
    body: str


def select(
    table: Table,
    query: Query,
    shape: Shape,
    window: Window,
    *,
    count: str | None = None,
    max_rows: int | None = None,
) -> Statement:
    """Build the SELECT of a GET; its row is a `Found`.

    `count` is the preference of that name; `max_rows` limits what is shown, not what is counted.
    An estimate counts one row more than that at most.
    """
    relation = Relation(table, table_name(table))
    total: sql.Composable = sql.SQL("NULL::bigint")
    if count in ("exact", "estimated"):
        most = max_rows + 1 if count == "estimated" and max_rows is not None else None
        counted = sql.Composed([_matching(relation, query), _limit(Window(0).at_most(most))])
        total = sql.SQL("(SELECT count(*) FROM ({}) AS {})").format(counted, COUNTED)
    text = sql.SQL(
        "SELECT count(*), {total}, {body} FROM (SELECT {shown} FROM {table} {where} {order}{limit}) AS {row}"
    ).format(
        total=total,
        body=aggregated(shape),
        shown=listed(map(relation.shown, query.select)),
        table=relation.name,
        where=relation.where(query.conditions),
        order=relation.order_by(query.order),
        limit=_limit(window.at_most(max_rows)),
        row=ROW,
    )
    return Statement(text)


def explain(table: Table, query: Query) -> Statement:
    """Build the question how many rows the planner expects; its row is PostgreSQL's plan as JSON."""
    relation = Relation(table, table_name(table))
    return Statement(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(_matching(relation, query)))


def _matching(relation: Relation, query: Query) -> sql.Composable:
    return sql.SQL("SELECT 1 FROM {} {}").format(relation.name, relation.where(query.conditions))


def _limit(window: Window) -> sql.Composable:
    if window == EVERYTHING:
        return EMPTY
    size = "ALL" if window.size is None else str(window.size)
    return clause(" LIMIT", [sql.SQL(f"{size} OFFSET {window.first}")])
