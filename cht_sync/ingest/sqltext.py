"""SQL put together from names and values: every name quoted, every value bound."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql

from cht_sync.ingest.schema_cache import Table

ROW = sql.Identifier("pgrst row")
"""A name that is no column's: PostgreSQL would take a column of the same name for it."""
EMPTY = sql.SQL("")


@dataclass(frozen=True)
class Statement:
    """SQL with `%s` for each of `values`."""

    text: sql.Composable
    values: tuple[object, ...] = ()


class Rendered(sql.Composable):
    """SQL that is put together once, for it is kept: all connections speak UTF-8 and quote alike."""

    def __init__(self, composed: sql.Composable) -> None:
        super().__init__(composed)
        self._composed = composed
        self._text: str | None = None

    def as_string(self, context: Any) -> str:
        if self._text is None:
            self._text = self._composed.as_string(context)
        return self._text


def table_name(table: Table) -> sql.Composable:
    return name(table.schema, table.name)


def qualified(table: Table, column: str) -> sql.Composable:
    return name(table.schema, table.name, column)


def name(*parts: str) -> sql.Identifier:
    """A quoted identifier; a percent sign in it must not look like a placeholder."""
    return sql.Identifier(*(part.replace("%", "%%") for part in parts))


def verbatim(catalogued: str | None) -> sql.SQL:
    """SQL that PostgreSQL's own catalog gave: a type or a default expression."""
    return sql.SQL((catalogued or "NULL").replace("%", "%%"))


def listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def parenthesised(inner: sql.Composable) -> sql.Composed:
    return sql.SQL("({})").format(inner)


def aliased(expression: sql.Composable, alias: str | None) -> sql.Composable:
    return expression if alias is None else sql.SQL("{} AS {}").format(expression, name(alias))


def as_json(*, single: bool) -> sql.Composable:
    text = (
        "coalesce((json_agg({row}) -> 0)::text, 'null')"
        if single
        else "coalesce(json_agg({row}), '[]')::text"
    )
    return sql.SQL(text).format(row=ROW)
