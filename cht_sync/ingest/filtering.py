"""Fields, conditions and orders of a query string as SQL on one relation."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2 import sql

from cht_sync.ingest.errors import outside_subset
from cht_sync.ingest.query_string.terms import Condition, Field, Logic, Order, Selected
from cht_sync.ingest.schema_cache import Table
from cht_sync.ingest.sqltext import clause, constant, listed, name

OPERATORS = {
    "eq": "=",
    "neq": "<>",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "like": "LIKE",
    "ilike": "ILIKE",
    "match": "~",
    "imatch": "~*",
    "cs": "@>",
    "cd": "<@",
    "ov": "&&",
    "sl": "<<",
    "sr": ">>",
    "nxr": "&<",
    "nxl": "&>",
    "adj": "-|-",
    "isdistinct": "IS DISTINCT FROM",
}
FULL_TEXT = {
    "fts": "to_tsquery",
    "plfts": "plainto_tsquery",
    "phfts": "phraseto_tsquery",
    "wfts": "websearch_to_tsquery",
}
STATES = {
    "null": "NULL",
    "not_null": "NOT NULL",
    "true": "TRUE",
    "false": "FALSE",
    "unknown": "UNKNOWN",
}
JSON_TYPES = ("json", "jsonb")


@dataclass(frozen=True)
class Relation:
    """Where fields are looked up: a table, or rows of it under another name."""

    table: Table
    name: sql.Composable

    def column(self, column: str) -> sql.Composable:
        shown = sql.SQL("*") if column == "*" else name(column)
        return sql.SQL("{}.{}").format(self.name, shown)

    def field(self, field: Field) -> sql.Composable:
        column = self.column(field.name)
        if field.path and self._type(field) not in JSON_TYPES:
            column = sql.SQL("to_jsonb({})").format(column)
        steps = [
            sql.SQL("{}{}{}").format(
                sql.SQL("->>" if step.as_text else "->"),
                constant(step.to),
                sql.SQL("::int" if step.is_index else ""),
            )
            for step in field.path
        ]
        return sql.Composed([column, *steps])

    def shown(self, one: Selected) -> sql.Composable:
        shown: sql.Composable = self.field(one.field)
        if one.cast is not None:
            if "$" in one.cast:
                raise outside_subset(f"The type {one.cast}")
            # Quoted, "int" would not be found; the grammar lets nothing but letters, digits and _ through.
            shown = sql.SQL("CAST({} AS {})").format(shown, sql.SQL(one.cast))
        alias = one.alias or one.field.label
        return shown if alias is None else sql.SQL("{} AS {}").format(shown, name(alias))

    def where(self, parts: tuple[Condition | Logic, ...]) -> sql.Composable:
        return clause("WHERE", (self.condition(part) for part in parts), " AND ")

    def order_by(self, orders: tuple[Order, ...]) -> sql.Composable:
        return clause(
            "ORDER BY",
            (sql.SQL(" ").join([self.field(one.field), *map(sql.SQL, one.modifiers)]) for one in orders),
        )

    def condition(self, one: Condition | Logic) -> sql.Composable:
        if isinstance(one, Logic):
            inner: sql.Composable = listed(map(self.condition, one.parts), f" {one.operator.upper()} ")
        else:
            inner = self._compared(one)
        return sql.SQL("NOT ({})" if one.negated else "({})").format(inner)

    def _compared(self, one: Condition) -> sql.Composable:
        field = self.field(one.field)
        if one.operator in FULL_TEXT:
            return self._searched(one, field)
        if isinstance(one.value, tuple):
            # Not IN: it has no empty list, and takes no array.
            return sql.SQL("{} = ANY ({})").format(field, constant(_array(one.value)))
        if one.operator == "is":
            return sql.SQL("{} IS {}").format(field, sql.SQL(STATES[one.value]))
        value = one.value.replace("*", "%") if one.operator in ("like", "ilike") else one.value
        quantified = sql.SQL(f"{one.argument.upper()} ({{}})" if one.argument else "{}")
        return sql.SQL("{} {} {}").format(
            field, sql.SQL(OPERATORS[one.operator]), quantified.format(constant(value))
        )

    def _searched(self, one: Condition, field: sql.Composable) -> sql.Composable:
        language = [constant(one.argument)] if one.argument else []
        if self._type(one.field) != "tsvector":
            field = sql.SQL("to_tsvector({})").format(listed([*language, field]))
        words = listed([*language, constant(str(one.value))])
        return sql.SQL("{} @@ {}({})").format(field, sql.SQL(FULL_TEXT[one.operator]), words)

    def _type(self, field: Field) -> str | None:
        column = self.table.columns.get(field.name)
        return None if column is None else column.type


def _array(values: tuple[str, ...]) -> str:
    """The text of an array, whose type PostgreSQL takes from what it is compared with."""
    if values == ("",):
        return "{}"
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"
