"""Which rows of a result are wanted: `limit`, `offset` and the Range header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cht_sync.ingest.errors import ApiError

RANGE = re.compile(r"([0-9]+)-([0-9]*)")
NUMBER = re.compile(r"\s*(-?[0-9]+)\s*")


@dataclass(frozen=True)
class Window:
    """Rows from `first` (counted from 0) to `last`, both included; no `last`: to the end."""

    first: int = 0
    last: int | None = None

    @property
    def size(self) -> int | None:
        return None if self.last is None else self.last - self.first + 1

    @property
    def is_empty(self) -> bool:
        return self.last is not None and self.last < self.first

    def common_with(self, other: Window) -> Window:
        ends = [end for end in (self.last, other.last) if end is not None]
        return Window(max(self.first, other.first), min(ends, default=None))

    def at_most(self, rows: int | None) -> Window:
        """The beginning of it, where it is larger than that."""
        if rows is None or self.is_empty:
            return self
        return self.common_with(Window(self.first, self.first + rows - 1))


EVERYTHING = Window()
NOTHING = Window(0, -1)
"""What `limit=0` asks for; every other empty window is a mistake."""


def of_parameters(given: Mapping[str, str]) -> Window:
    """Read `limit` and `offset`; what is no number is as good as absent, as in PostgREST."""
    limit, offset = _number(given.get("limit")), _number(given.get("offset"))
    if "limit" in given and "offset" in given:
        first = offset or 0
        return Window(first, first + (limit or 0) - 1)
    return Window(offset or 0) if limit is None else Window(0, limit - 1)


def wanted(parameters: Window, header: str | None) -> Window:
    """What the parameters and the Range header (None: absent) have in common.

    Raises ApiError 416 PGRST103 where that is nothing.
    """
    found = RANGE.fullmatch(header or "")
    first, last = found.groups() if found else ("0", "")
    ranged = Window(int(first), int(last) if last else None)
    if parameters.last == NOTHING.last:
        return NOTHING
    both = ranged.common_with(parameters)
    if both.is_empty:
        raise not_satisfiable(
            "The lower boundary must be lower than or equal to the upper boundary in the Range header."
            if ranged.is_empty
            else "Limit should be greater than or equal to zero."
        )
    return both


def not_satisfiable(details: str) -> ApiError:
    return ApiError(416, "PGRST103", "Requested range not satisfiable", details=details)


def _number(text: str | None) -> int | None:
    found = NUMBER.fullmatch(text or "")
    return int(found[1]) if found else None
