"""Texts and numbers as written, and settings given more than once: the rules of Logstash's tree builder."""

from __future__ import annotations

import re
from typing import Any

_ESCAPE = re.compile(r"\\([\"'\\nrt0])")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


def unquoted(text: str) -> str:
    """Take the quotes or slashes off a literal."""
    return text[1:-1]


def unescaped(text: str) -> str:
    r"""Replace the escapes of config.support_escapes: \" \' \\ \n \r \t \0; others stay as written."""
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), text)


def number(text: str) -> int | float:
    """Read a number as Ruby's Integer() and Float(); a leading zero means octal. Raises ValueError."""
    if "." in text:
        if text.endswith("."):
            raise ValueError(f'invalid value for Float(): "{text}"')
        return float(text)
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    try:
        value = int(sign + digits, 8 if digits.startswith("0") else 10)
    except ValueError:
        raise ValueError(f'invalid value for Integer(): "{text}"') from None
    if not _SMALLEST <= value <= _LARGEST:
        raise ValueError(f"Invalid eValue {text}: a whole number must fit into 64 bits")
    return value


def join_settings(present: Any, added: Any) -> Any:
    """Join the values of a setting that is given twice: hashes merge, others make an array.

    Raises ValueError where a hash meets something else.
    """
    if isinstance(present, dict) or isinstance(added, dict):
        if not (isinstance(present, dict) and isinstance(added, dict)):
            raise ValueError("given as a hash and as something else")
        return _merge(present, added)
    if isinstance(present, list):
        return present + (added if isinstance(added, list) else [added])
    return present if present == added else [present, added]


def _merge(present: dict[Any, Any], added: dict[Any, Any]) -> dict[Any, Any]:
    merged = dict(present)
    for name, value in added.items():
        if name not in merged:
            merged[name] = value
        elif isinstance(merged[name], dict) and isinstance(value, dict):
            merged[name] = _merge(merged[name], value)
        else:
            items = merged[name] if isinstance(merged[name], list) else [merged[name]]
            new = [item for item in (value if isinstance(value, list) else [value]) if item not in items]
            if new or isinstance(value, list):
                merged[name] = items + new
    return merged
