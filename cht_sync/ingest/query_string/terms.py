"""What a query string can say: fields, conditions on them, an order, and what to show."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One arrow of a JSON path: to a key or an index (a number with its sign), as text or as JSON."""

    to: str
    is_index: bool = False
    as_text: bool = False


@dataclass(frozen=True)
class Field:
    """A column, or what a JSON path leads to inside it. The name `*` stands for all columns."""

    name: str
    path: tuple[Step, ...] = ()

    @property
    def label(self) -> str | None:
        """The name to show it under: the last key of the path, None for a plain column."""
        if not self.path:
            return None
        return next((step.to for step in reversed(self.path) if not step.is_index), self.name)


@dataclass(frozen=True)
class Selected:
    """A field to show, perhaps cast to a type and under another name."""

    field: Field
    alias: str | None = None
    cast: str | None = None


@dataclass(frozen=True)
class Aggregated:
    """An aggregate function in `select`; PostgREST has them switched off unless told otherwise."""


@dataclass(frozen=True)
class Related:
    """Rows of another table in `select`."""

    name: str


@dataclass(frozen=True)
class Condition:
    """`operator` is PostgREST's name; `value` a text, or the texts of a list.

    `argument` is the quantifier (any, all) or the language of a full-text search.
    """

    field: Field
    operator: str
    value: str | tuple[str, ...]
    negated: bool = False
    argument: str | None = None


@dataclass(frozen=True)
class Logic:
    """Conditions joined by "and" or "or"."""

    operator: str
    parts: tuple[Condition | Logic, ...]
    negated: bool = False


@dataclass(frozen=True)
class Order:
    """A field to sort by, with SQL's words for the direction and the place of nulls."""

    field: Field
    modifiers: tuple[str, ...] = ()
    relation: str | None = None
