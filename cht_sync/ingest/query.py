"""The query string: names, filters, order and window, in PostgREST's grammar.

The subset: `columns`, `on_conflict`, `select` (plain columns and `alias:column`), filters on plain
columns with the operators of `OPERATORS`, `in` and `is` (each also with `not.`), `order`, `limit`,
`offset`. Anything else is refused with PGRST100, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeVar
from urllib.parse import parse_qsl, quote

from cht_sync.ingest.errors import ApiError, outside_subset

OPERATORS = {
    "eq": "=",
    "neq": "<>",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "like": "LIKE",
    "ilike": "ILIKE",
}
STATES = {
    "null": "NULL",
    "not_null": "NOT NULL",
    "true": "TRUE",
    "false": "FALSE",
    "unknown": "UNKNOWN",
}
"""What `is` can be followed by."""
RESERVED = ("columns", "on_conflict", "select", "order", "limit", "offset")
FIELD = "field name (* or [a..z0..9_$])"

Item = TypeVar("Item")

_NAME = re.compile(r'"((?:[^"\\]|\\.)*)"|([\w$ ]+(?:-[\w$ ]+)*)')
_LIST_VALUE = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,()"]*)')
_DIRECTIONS = {"asc": "ASC", "desc": "DESC", "nullsfirst": "NULLS FIRST", "nullslast": "NULLS LAST"}


@dataclass(frozen=True)
class Selected:
    """A column to show and the name to show it under; column `*` stands for all of them."""

    column: str
    alias: str | None = None


@dataclass(frozen=True)
class Filter:
    """A condition on one column. `operator` is SQL; `values` holds one value, or those of `IN`."""

    column: str
    operator: str
    values: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True)
class Order:
    """A column to sort by, with SQL's words for the direction and the place of nulls."""

    column: str
    modifiers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Query:
    """A parsed query string. `columns` and `on_conflict` are None where they were not given."""

    columns: tuple[str, ...] | None = None
    on_conflict: tuple[str, ...] | None = None
    select: tuple[Selected, ...] = (Selected("*"),)
    filters: tuple[Filter, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    canonical: str = ""
    """All parameters, sorted and encoded anew, as `Content-Location` shows them."""


def parse(text: str) -> Query:
    """Parse a raw query string; raises ApiError PGRST100, or PGRST103 for a negative limit."""
    pairs = parse_qsl(text, keep_blank_values=True)
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise ApiError(400, "22021", 'invalid byte sequence for encoding "UTF8": 0x00')
    given = dict(pairs)
    return Query(
        columns=_names(given.get("columns"), "columns parameter"),
        on_conflict=_names(given.get("on_conflict"), "on_conflict parameter"),
        select=_select(given.get("select", "*")),
        order=_order(given.get("order", "")),
        filters=tuple(_filter(name, value) for name, value in pairs if name not in RESERVED),
        limit=_limit(given.get("limit")),
        offset=max(0, _integer("offset", given.get("offset", "0"))),
        canonical="&".join(
            f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(pairs)
        ),
    )


class _Scanner:
    """Reads a text from left to right and knows where it stands when something is wrong."""

    def __init__(self, text: str, subject: str) -> None:
        self._text = text
        self._subject = subject
        self._position = 0

    @property
    def done(self) -> bool:
        return self._position == len(self._text)

    def accept(self, character: str) -> bool:
        if not self._text.startswith(character, self._position):
            return False
        self._position += len(character)
        return True

    def name(self) -> str:
        return self.match(_NAME, FIELD)

    def match(self, pattern: re.Pattern[str], expected: str) -> str:
        """Read what `pattern` matches: its first group is quoted text, its second plain text."""
        found = pattern.match(self._text, self._position)
        if found is None:
            self.fail(expected)
        self._position = found.end()
        quoted, plain = found.groups()
        return re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain.strip()

    def fail(self, expected: str) -> NoReturn:
        rest = self._text[self._position : self._position + 1]
        unexpected = f'unexpected "{rest}"' if rest else "unexpected end of input"
        raise ApiError(
            400,
            "PGRST100",
            f'"failed to parse {self._subject} ({self._text})" (line 1, column {self._position + 1})',
            details=f"{unexpected} expecting {expected}",
        )


def _items(scanner: _Scanner, read: Callable[[_Scanner], Item]) -> tuple[Item, ...]:
    found = [read(scanner)]
    while scanner.accept(","):
        found.append(read(scanner))
    if not scanner.done:
        scanner.fail('"," or end of input (the rest is outside the subset that this server speaks)')
    return tuple(found)


def _names(text: str | None, subject: str) -> tuple[str, ...] | None:
    if text is None:
        return None
    # The same column named twice is written once, as in PostgREST, which keeps a set.
    return tuple(dict.fromkeys(_items(_Scanner(text, subject), _Scanner.name)))


def _select(text: str) -> tuple[Selected, ...]:
    def item(scanner: _Scanner) -> Selected:
        if scanner.accept("*"):
            return Selected("*")
        name = scanner.name()
        return Selected(scanner.name(), alias=name) if scanner.accept(":") else Selected(name)

    return _items(_Scanner(text, "select parameter"), item) if text else (Selected("*"),)


def _order(text: str) -> tuple[Order, ...]:
    def item(scanner: _Scanner) -> Order:
        column = scanner.name()
        modifiers = []
        while scanner.accept("."):
            word = scanner.name()
            if word not in _DIRECTIONS:
                raise outside_subset(f"order modifier {word!r}")
            modifiers.append(_DIRECTIONS[word])
        return Order(column, tuple(modifiers))

    return _items(_Scanner(text, "order"), item) if text else ()


def _filter(name: str, value: str) -> Filter:
    if name in ("or", "and", "not.or", "not.and"):
        raise outside_subset(f"the logical filter {name!r}")
    key = _Scanner(name, "tree path")
    column = key.name()
    if not key.done:
        key.fail("end of input (the rest is outside the subset that this server speaks)")
    negated = value.startswith("not.")
    operator, dot, operand = value.removeprefix("not.").partition(".")
    if not dot or operator not in (*OPERATORS, "in", "is"):
        _Scanner(value, "filter").fail('"not" or operator (eq, gt, ...)')
    if operator == "is":
        if operand.lower() not in STATES:
            raise outside_subset(f"the filter 'is.{operand}'")
        return Filter(column, f"IS {STATES[operand.lower()]}", (), negated)
    if operator == "in":
        return Filter(column, "IN", _list(operand), negated)
    if operator in ("like", "ilike"):
        operand = operand.replace("*", "%")
    return Filter(column, OPERATORS[operator], (operand,), negated)


def _list(text: str) -> tuple[str, ...]:
    scanner = _Scanner(text, "filter")
    if not scanner.accept("("):
        scanner.fail('"("')
    if scanner.accept(")") and scanner.done:
        return ()
    values = [scanner.match(_LIST_VALUE, "a value")]
    while scanner.accept(","):
        values.append(scanner.match(_LIST_VALUE, "a value"))
    if not scanner.accept(")") or not scanner.done:
        scanner.fail('"," or ")"')
    return tuple(values)


def _integer(name: str, text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise outside_subset(f"{name}={text}")
    return int(text)


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    limit = _integer("limit", text)
    if limit < 0:
        raise ApiError(
            416,
            "PGRST103",
            "Requested range not satisfiable",
            details="Limit should be greater than or equal to zero.",
        )
    return limit
