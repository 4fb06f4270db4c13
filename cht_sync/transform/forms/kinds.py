"""Which types a value could be read as, by the rules of the package's casts (`macros/fields.sql`).

Narrower than those where reading would lose something: a text that starts with a plus or a zero, such as
a phone number or a code, is no number here, and ten digits or more are taken for an identifier.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

Json = None | bool | str | list["Json"] | dict[str, "Json"]
"""A decoded document; numbers are `Number`."""


class Number(str):
    """A JSON number, as PostgreSQL writes it."""

    __slots__ = ()


WORDS = frozenset({"true", "false", "yes", "no"})
FIRST_MILLISECOND = 946_684_800_000
"""2000-01-01. Whole numbers from here to `LAST_MILLISECOND` are moments, in milliseconds since 1970."""
LAST_MILLISECOND = 4_102_444_800_000

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,8})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,30})?")
_ANY_NUMBER = re.compile(r"-?[0-9]{1,100}(\.[0-9]{1,100})?")
_DAY = re.compile(r"(?!0000)([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})")
_MOMENT = re.compile(
    r"((?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,30})?)?"
    r"(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)?)?"
)
_MILLISECONDS = re.compile(r"[0-9]{12,13}")


def is_boolean(value: str) -> bool:
    return value.lower() in WORDS


def is_integer(value: str) -> bool:
    return _INTEGER.fullmatch(value) is not None


def is_numeric(value: str) -> bool:
    return (_ANY_NUMBER if isinstance(value, Number) else _DECIMAL).fullmatch(value) is not None


def is_date(value: str) -> bool:
    found = _DAY.fullmatch(value)
    return found is not None and _in_calendar(*found.groups())


def is_moment(value: str) -> bool:
    if _MILLISECONDS.fullmatch(value):
        return FIRST_MILLISECOND <= int(value) <= LAST_MILLISECOND
    found = _MOMENT.fullmatch(value)
    return found is not None and is_date(found.group(1))


KINDS: dict[str, Callable[[str], bool]] = {
    "boolean": is_boolean,
    "date": is_date,
    "timestamptz": is_moment,
    "integer": is_integer,
    "numeric": is_numeric,
}
"""Types by their names in SQL; where several fit all values, the first is proposed."""


def _in_calendar(year: str, month: str, day: str) -> bool:
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return False
    return True
