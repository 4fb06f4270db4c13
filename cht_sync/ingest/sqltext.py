"""SQL put together from names and values: every name quoted, every value a quoted constant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql

from cht_sync.ingest.media_types import GEOJSON, Shape
from cht_sync.ingest.messages import Body
from cht_sync.ingest.schema_cache import Table

ROW = sql.Identifier("pgrst row")
"""A name that is no column's: PostgreSQL would take a column of the same name for it."""
EMPTY = sql.SQL("")
BODY_MARK = "\0"
"""Stands for the request's body until the statement is sent; no name and no value can hold it."""
BODY = sql.SQL(BODY_MARK)


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


@dataclass(frozen=True)
class Statement:
    """SQL, perhaps with one BODY in it and the body that belongs there."""

    text: sql.Composable
    body: Body | None = None


def table_name(table: Table) -> sql.Composable:
    return name(table.schema, table.name)


def name(*parts: str) -> sql.Identifier:
    return sql.Identifier(*parts)


def constant(text: str) -> sql.Composable:
    return sql.Literal(text)


def verbatim(catalogued: str | None) -> sql.SQL:
    """SQL that PostgreSQL's own catalog gave: a type or a default expression."""
    return sql.SQL(catalogued or "NULL")


def listed(parts: Iterable[sql.Composable], separator: str = ", ") -> sql.Composed:
    return sql.SQL(separator).join(parts)


def parenthesised(inner: sql.Composable) -> sql.Composed:
    return sql.SQL("({})").format(inner)


def clause(word: str, parts: Iterable[sql.Composable], separator: str = ", ") -> sql.Composable:
    """The word and its parts; nothing where there are none."""
    found = list(parts)
    return sql.SQL(word + " {}").format(listed(found, separator)) if found else EMPTY


def aggregated(shape: Shape) -> sql.Composable:
    """All rows as one text."""
    if shape.media_type == GEOJSON:
        # PostGIS's function; where it is not installed, PostgreSQL says so.
        return sql.SQL(
            "json_build_object('type', 'FeatureCollection', 'features',"
            " coalesce(json_agg(ST_AsGeoJSON({row})::json), '[]'))::text"
        ).format(row=ROW)
    rows = "json_agg({row}) -> 0" if shape.single else "json_agg({row})"
    shown = f"json_strip_nulls({rows})" if shape.stripped else f"({rows})"
    nothing = "null" if shape.single else "[]"
    return sql.SQL(f"coalesce({shown}::text, '{nothing}')").format(row=ROW)
