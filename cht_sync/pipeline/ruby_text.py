"""Values and texts as Ruby writes, splits and joins them, where Logstash's plugins leave that to Ruby.

`%{...}` does not come here: Logstash fills in templates in Java (see `templates`), which writes numbers and
lists in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from cht_sync.pipeline.document import RawDocument

WHITESPACE = " \t\n\v\f\r"
STRIPPED = WHITESPACE + "\0"
"""What String#strip takes off at both ends."""

_BLANKS = re.compile(f"[{WHITESPACE}]+")
_SPECIAL = re.compile(r'["\\\x00-\x1f\x7f]|#(?=[{$@])')
SHORT_ESCAPES = {"\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r", "\x1b": "e"}
"""Characters that have a letter of their own behind the backslash."""


def to_s(value: Any) -> str:
    """Return a value as text (Object#to_s)."""
    if value is None:
        return ""
    return value if isinstance(value, str) else inspect(value)


def inspect(value: Any) -> str:
    """Return a value as it would be written in a program (Object#inspect)."""
    if isinstance(value, str):
        return f'"{_SPECIAL.sub(_escape, value)}"'
    if isinstance(value, RawDocument):
        value = value.decode()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(inspect, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{inspect(key)}=>{inspect(item)}' for key, item in value.items())}}}"
    if value is None or isinstance(value, bool):
        return {None: "nil", True: "true", False: "false"}[value]
    return _float(value) if isinstance(value, float) else str(value)


def split(text: str, separator: str, *, keep_empty_ends: bool = False) -> list[str]:
    """Split as String#split: one blank means any white space, nothing means every character.

    Empty items at the end are left out unless `keep_empty_ends` (a limit of -1).
    """
    if not text:
        return []
    if separator == " ":
        items = _BLANKS.split(text.lstrip(WHITESPACE))
    elif separator:
        items = text.split(separator)
    else:
        items = [*text, ""]
    if not keep_empty_ends:
        while items and not items[-1]:
            items.pop()
    return items


def join(items: Iterable[Any], separator: str) -> str:
    """Join as Array#join: lists inside are joined by the same separator."""
    return separator.join(join(item, separator) if isinstance(item, list) else to_s(item) for item in items)


def as_array(value: Any) -> list[Any]:
    """Return what Kernel#Array makes of a value: nothing of null, pairs of a map, a list of anything else."""
    if isinstance(value, RawDocument):
        value = value.decode()
    if isinstance(value, dict):
        return [[key, item] for key, item in value.items()]
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _float(value: float) -> str:
    if value == 0 or 1e-4 <= abs(value) < 1e16:
        text = format(Decimal(repr(value)), "f")
        return text if "." in text else f"{text}.0"
    sign, digits, _ = Decimal(repr(value)).normalize().as_tuple()
    first, *rest = map(str, digits)
    exponent = Decimal(repr(value)).adjusted()
    return f"{'-' if sign else ''}{first}.{''.join(rest) or '0'}e{exponent:+03d}"


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in '"\\#':
        return f"\\{character}"
    return f"\\{SHORT_ESCAPES[character]}" if character in SHORT_ESCAPES else f"\\x{ord(character):02X}"
