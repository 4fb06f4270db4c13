"""Numbers and booleans out of field values: the conversions of the filter mutate.

Texts are read as Ruby's Integer(), Float() and BigDecimal() read them, after blanks at the ends and thousands
commas are taken away. What is no number raises ValueError.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from cht_sync.pipeline.ruby_text import STRIPPED, to_s
from cht_sync.pipeline.timestamp import NANOSECONDS, Timestamp

_DIGITS = r"\d+(?:_\d+)*"
_HEXADECIMAL = re.compile(
    r"[+-]?0x(?P<digits>[0-9a-f]+(?:_[0-9a-f]+)*)(?P<fraction>\.[0-9a-f]+)?(?:p[+-]?\d+)?"
)
_DECIMAL = re.compile(rf"[+-]?(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:[ed][+-]?\d+)?", re.ASCII)
_FLOAT = re.compile(rf"[+-]?(?:{_DIGITS}(?:\.{_DIGITS})?|\.{_DIGITS})(?:e[+-]?\d+)?", re.ASCII)
_TRUE = re.compile(r"^(true|t|yes|y|1|1.0)$", re.IGNORECASE | re.MULTILINE | re.ASCII)
_FALSE = re.compile(r"^(false|f|no|n|0|0.0)$", re.IGNORECASE | re.MULTILINE | re.ASCII)
_MOST_DIGITS = 1_000
"""A number of more digits is no number that somebody meant, and would take the memory of the machine."""
_COMMAS_AND_DOTS = str.maketrans(",.", ".,")


def to_integer(value: Any) -> int:
    """Return a whole number; fractions are cut off. Raises ValueError."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return _integer_of_text(_tidied(value))
    if isinstance(value, float | Decimal):
        return whole_part(value)
    if isinstance(value, Timestamp):
        return value.seconds
    raise ValueError(f"a {type(value).__name__} is no whole number")


def whole_part(value: float | Decimal) -> int:
    """Return a number without its fraction. Raises ValueError for one of very many digits, or without end."""
    number = Decimal(value)
    if not number.is_finite() or number.adjusted() > _MOST_DIGITS:
        raise ValueError(f"a number of more than {_MOST_DIGITS} digits")
    return int(number)


def to_float(value: Any) -> float:
    """Return a number with a fraction. Raises ValueError."""
    if isinstance(value, str):
        value = _float_of_text(_tidied(value))
    elif isinstance(value, Timestamp):
        value = value.nanoseconds / NANOSECONDS
    elif not isinstance(value, int | float | Decimal):
        raise ValueError(f"a {type(value).__name__} is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("beyond the range of numbers with a fraction")
    return number


def to_integer_eu(value: Any) -> int:
    """As `to_integer`, with dots between thousands and a decimal comma. Raises ValueError."""
    return to_integer(value.translate(_COMMAS_AND_DOTS) if isinstance(value, str) else value)


def to_float_eu(value: Any) -> float:
    """As `to_float`, with dots between thousands and a decimal comma. Raises ValueError."""
    return to_float(value.translate(_COMMAS_AND_DOTS) if isinstance(value, str) else value)


def to_boolean(value: Any) -> Any:
    """Return true or false for the words that Logstash knows, anything else as it is."""
    text = to_s(value)
    if _TRUE.search(text):
        return True
    if not text or _FALSE.search(text):
        return False
    return value


CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "string": to_s,
    "integer": to_integer,
    "float": to_float,
    "boolean": to_boolean,
    "integer_eu": to_integer_eu,
    "float_eu": to_float_eu,
}
"""By the names that the option `convert` uses."""


def _tidied(text: str) -> str:
    return text.strip(STRIPPED).replace(",", "").lower()


def _integer_of_text(text: str) -> int:
    found = _HEXADECIMAL.fullmatch(text)
    if found is not None:
        return int(text, 16) if not found["fraction"] and "p" not in text else int(_hexadecimal(text))
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError("not a whole number")
    return whole_part(Decimal(text.replace("d", "e")))


def _float_of_text(text: str) -> float:
    if _HEXADECIMAL.fullmatch(text):
        return _hexadecimal(text)
    if not text or _FLOAT.fullmatch(text) is None:
        raise ValueError("not a number")
    return float(text)


def _hexadecimal(text: str) -> float:
    try:
        return float.fromhex(text.replace("_", ""))
    except OverflowError:
        raise ValueError("beyond the range of numbers with a fraction") from None
