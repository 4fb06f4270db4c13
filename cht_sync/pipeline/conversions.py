"""The types of options: how a value of the configuration becomes a value of Python.

Values come as text, numbers, lists and dicts; `${VARIABLES}` always give text, so numbers and booleans
are read from text too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

Kind = Literal["string", "number", "boolean", "array", "hash", "password", "path", "uri", "codec"]
"""Logstash's names for the types of an option."""

_INTEGER = re.compile(r"-?[0-9]+", re.ASCII)
_SHORT_WORD = re.compile(r"[\w.+-]{0,20}")
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+", re.ASCII)


class Password:
    """A text that shows itself to nobody but who asks for `value`."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "<password>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Password) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


class WrongValue(ValueError):
    """A value that an option cannot take; the text never holds a password."""


def as_list(value: Any) -> list[Any]:
    """Return a list as it is and anything else as a list of one."""
    return value if isinstance(value, list) else [value]


def refuse_blocks(value: Any) -> None:
    """Refuse a codec with a body anywhere in a value. Raises WrongValue."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            refuse_blocks(item)
    elif not isinstance(value, str | int | float):
        raise WrongValue("a codec cannot stand here")


def _single(value: Any, expected: str) -> Any:
    items = as_list(value)
    if len(items) != 1 or isinstance(items[0], dict | list):
        raise WrongValue(f"expected {expected}, got {_type_of(value)}")
    return items[0]


def described(value: Any) -> str:
    """Return a wrong value as an error shows it: as it is where it is a number or a short word.

    What may stand in its place is short; anything else may be a secret that belongs to another option.
    """
    if isinstance(value, str):
        return repr(value) if _SHORT_WORD.fullmatch(value) else "another text"
    return _type_of(value)


def _type_of(value: Any) -> str:
    if isinstance(value, dict):
        return "a hash"
    if isinstance(value, list):
        return f"an array of {len(value)}"
    return "a text" if isinstance(value, str) else repr(value)


def _string(value: Any) -> str:
    return str(_single(value, "a string"))


def _number(value: Any) -> int | float:
    single = _single(value, "a number")
    if isinstance(single, int | float):
        return single
    if isinstance(single, str):
        if _INTEGER.fullmatch(single):
            return int(single)
        if _DECIMAL.fullmatch(single):
            return float(single)
    raise WrongValue(f"expected a number, got {described(single)}")


def _boolean(value: Any) -> bool:
    single = _single(value, "a boolean")
    if single not in ("true", "false"):
        raise WrongValue(f"expected true or false, got {described(single)}")
    return bool(single == "true")


def _array(value: Any) -> tuple[Any, ...]:
    return tuple(as_list(value))


def _hash(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {str(key): item for key, item in value.items()}
    items = as_list(value)
    if len(items) % 2:
        # Not shown: headers without their names are a secret.
        raise WrongValue(f"expected a hash, got {_type_of(value)}")
    # Logstash still takes the old form: an array of names and values in turn.
    pairs: dict[str, Any] = {}
    for key, item in zip(items[::2], items[1::2], strict=True):
        name = str(key)
        pairs[name] = [*as_list(pairs[name]), item] if name in pairs else item
    return pairs


def _password(value: Any) -> Password:
    try:
        return Password(_string(value))
    except WrongValue:
        raise WrongValue("expected one text") from None


def _path(value: Any) -> Path:
    path = Path(_string(value))
    # Not shown: it may be the key that the file should hold.
    if "\n" in str(path):
        raise WrongValue("expected a path, got a text of several lines")
    try:
        exists = path.exists()
    except OSError as error:
        raise WrongValue(f"this path cannot be used: {error.strerror}") from None
    if not exists:
        raise WrongValue(f"there is no file {str(path)!r}")
    return path


def _uri(value: Any) -> str:
    text = _string(value)
    try:
        parts = urlsplit(text)
        complete = bool(parts.scheme and parts.hostname)
    except ValueError:
        complete = False
    if not complete:
        # Not shown: an address may hold a password.
        raise WrongValue("expected an address such as https://example.org:8080/path")
    return text


def _unchanged(value: Any) -> Any:
    return value


CONVERSIONS: dict[Kind, Callable[[Any], Any]] = {
    "string": _string,
    "number": _number,
    "boolean": _boolean,
    "array": _array,
    "hash": _hash,
    "password": _password,
    "path": _path,
    "uri": _uri,
    "codec": _unchanged,
}
"""What makes a value of a kind; each raises WrongValue. A codec is looked up by whoever knows them."""
