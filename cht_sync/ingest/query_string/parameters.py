"""A whole query string: its parameters, each read by its grammar.

What PostgREST understands and this server does not (rows of other tables, aggregates) is read too,
so that it can be refused in words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar
from urllib.parse import quote, unquote_to_bytes

from cht_sync.ingest.errors import ApiError, outside_subset
from cht_sync.ingest.query_string import conditions, fields, ordering, selection, window
from cht_sync.ingest.query_string.parsing import ParseFailure
from cht_sync.ingest.query_string.terms import (
    Aggregated,
    Condition,
    Field,
    Logic,
    Order,
    Related,
    Selected,
)
from cht_sync.ingest.query_string.window import EVERYTHING, Window

LOGIC = ("and", "or")
OF_EMBEDDED = (*LOGIC, "order", "limit", "offset")
"""Parameters that can name an embedded table before a dot."""
OF_ROOT = ("select", "columns", "on_conflict")
ALL_COLUMNS = (Selected(Field("*")),)
LONGEST_REMEMBERED = 2_000
"""Characters; a query string is read once, for most come again."""

T = TypeVar("T")


@dataclass(frozen=True)
class Query:
    """A parsed query string. `columns` and `on_conflict` are None where they were not given."""

    columns: tuple[str, ...] | None = None
    on_conflict: tuple[str, ...] | None = None
    select: tuple[Selected, ...] = ALL_COLUMNS
    conditions: tuple[Condition | Logic, ...] = ()
    order: tuple[Order, ...] = ()
    window: Window = EVERYTHING
    canonical: str = ""
    """All parameters, sorted and encoded anew, as `Content-Location` shows them."""
    not_embedded: str | None = None
    """A table that a parameter names although `select` does not."""
    related: str | None = None
    """A table that `select` names."""
    aggregates: bool = False

    def check(self) -> None:
        """Raise ApiError 400 for what parses but cannot be answered."""
        if self.related is not None:
            raise outside_subset(f"Selecting rows of another table ({self.related})")
        if self.not_embedded is not None:
            raise ApiError(
                400,
                "PGRST108",
                f"'{self.not_embedded}' is not an embedded resource in this request",
                hint=f"Verify that '{self.not_embedded}' is included in the 'select' query parameter.",
            )
        if self.aggregates:
            raise ApiError(400, "PGRST123", "Use of aggregate functions is not allowed")


def parse(text: str) -> Query:
    """Parse a raw query string; raises ApiError PGRST100."""
    return _remembered(text) if len(text) <= LONGEST_REMEMBERED else _parse(text)


def _parse(text: str) -> Query:
    decoded = [
        (_decoded(name), _decoded(value) if equals else None)
        for name, equals, value in (part.partition("=") for part in re.split("[&;]", text) if text)
    ]
    pairs = [
        (name.decode(errors="replace"), value.decode(errors="replace"))
        for name, value in decoded
        if value is not None
    ]
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise ApiError(400, "22021", 'invalid byte sequence for encoding "UTF8": 0x00')
    first = dict(reversed(pairs))
    orders = [
        (_path(name), _read(ordering.ordering, value, "order")) for name, value in _ending(pairs, ["order"])
    ]
    logics = [_logic(name, value) for name, value in _ending(pairs, LOGIC)]
    columns = _names(first, "columns")
    shown = _read(selection.selection, first.get("select", "*"), "select parameter")
    filters = [
        _condition(name, value)
        for name, value in pairs
        if name not in OF_ROOT and _last(name) not in OF_EMBEDDED
    ]
    on_conflict = _names(first, "on_conflict")
    limits = [(_path(name), None) for name, _ in _ending(pairs, ["limit", "offset"])]
    related = [one for one in shown if isinstance(one, Related)]
    paths = [path for part in (filters, orders, limits, logics) for path, _ in part if path]
    paths += [(one.relation,) for _, order in orders for one in order if one.relation]
    return Query(
        # The same column named twice is written once: PostgREST keeps a set.
        columns=None if columns is None else tuple(sorted(set(columns))),
        on_conflict=on_conflict,
        select=tuple(one for one in shown if isinstance(one, Selected)) or ALL_COLUMNS,
        conditions=tuple(one for path, one in (*filters, *logics) if not path),
        order=next((order for path, order in orders if not path), ()),
        window=window.of_parameters(dict(pairs)),
        canonical=_canonical(decoded),
        not_embedded=paths[0][0] if paths else None,
        related=related[0].name if related else None,
        aggregates=any(isinstance(one, Aggregated) for one in shown),
    )


_remembered = lru_cache(maxsize=256)(_parse)


def _names(given: dict[str, str], parameter: str) -> tuple[str, ...] | None:
    if parameter not in given:
        return None
    return _read(fields.names, given[parameter], f"{parameter} parameter")


def _condition(name: str, value: str) -> tuple[conditions.Path, Condition | Logic]:
    path, field = _read(conditions.field_of, name, "tree path")
    return path, _read(lambda text: conditions.condition(text, field), value, "filter")


def _logic(name: str, value: str) -> tuple[conditions.Path, Condition | Logic]:
    path, operator = _read(conditions.logic_of, name, "logic path")
    return path, _read(conditions.logic, operator + value, "logic tree", shown=value)


def _path(name: str) -> conditions.Path:
    path, _ = _read(conditions.field_of, name, "tree path")
    return path


def _read(reader: Callable[[str], T], text: str, subject: str, *, shown: str | None = None) -> T:
    try:
        return reader(text)
    except ParseFailure as failure:
        raise ApiError(
            400,
            "PGRST100",
            f'"failed to parse {subject} ({text if shown is None else shown})"'
            f" (line {text.count(chr(10), 0, failure.position) + 1},"
            f" column {failure.position - text.rfind(chr(10), 0, failure.position)})",
            details=failure.details,
        ) from failure
    except RecursionError:
        raise outside_subset(f"So deep a {subject}") from None


def _ending(pairs: Iterable[tuple[str, str]], words: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in pairs if _last(name) in words]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _decoded(text: str) -> bytes:
    return unquote_to_bytes(text.replace("+", " "))


def _canonical(pairs: Iterable[tuple[bytes, bytes | None]]) -> str:
    values: dict[bytes, list[str]] = {}
    for name, value in sorted(pairs, key=lambda pair: pair[0]):
        values.setdefault(name, []).append(_encoded(value or b""))
    # Values of one name are joined by commas, and bytes beyond ASCII are encoded twice: as PostgREST does.
    return "&".join(f"{_encoded(name)}={','.join(found)}" for name, found in values.items())


def _encoded(text: bytes) -> str:
    return quote(text.decode("latin-1"), safe="")
