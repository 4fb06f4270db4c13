"""Field references: `name`, `[name]`, `[outer][inner][0]`, as Logstash's strict parser reads them.

A reference is parsed once and becomes a path: a tuple of names. In a map a name is a key; in a list
it is an index, counted from the end where negative.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from cht_sync.pipeline.document import ABSENT

Path = tuple[str, ...]

_INDEX = re.compile(r"-?[0-9]{1,9}", re.ASCII)
_MOST_PADDING = 10_000
"""A list grows by at most this many nulls at once: the index may come from a document."""


class InvalidReference(ValueError):
    """A text that is no field reference."""

    def __init__(self, text: str) -> None:
        super().__init__(f"Invalid FieldReference: `{text}`")


class FieldError(ValueError):
    """A field that cannot be set there, or to that value."""


@lru_cache(maxsize=8192)
def parse_reference(text: str) -> Path:
    """Return the path of a field reference. Raises InvalidReference.

    References inside references are flattened: `[[a][b]][c]` is `[a][b][c]`.
    """
    if "[" not in text and "]" not in text:
        return (text,)
    path: list[str] = []
    depth = start = 0
    for place, character in enumerate(text):
        if character == "[":
            if start != place:
                raise InvalidReference(text)
            depth += 1
            start = place + 1
        elif character == "]":
            if depth == 0 or (start == place and text[place - 1] != "]"):
                raise InvalidReference(text)
            if start < place:
                path.append(text[start:place])
            depth -= 1
            start = place + 1
    if depth or start < len(text):
        raise InvalidReference(text)
    return tuple(path)


def member(container: Any, name: str) -> Any:
    """Return one member of a map or list, or ABSENT."""
    if isinstance(container, dict):
        return container.get(name, ABSENT)
    if isinstance(container, list) and _INDEX.fullmatch(name):
        index = int(name)
        if -len(container) <= index < len(container):
            return container[index]
    return ABSENT


def find(container: Any, path: Path) -> Any:
    """Return what is at `path` below `container`, or ABSENT."""
    for name in path:
        container = member(container, name)
        if container is ABSENT:
            return ABSENT
    return container


def assign(container: Any, path: Path, value: Any) -> None:
    """Set what is at `path`; maps are made for missing parents. Raises FieldError below a scalar."""
    for name in path[:-1]:
        child = member(container, name)
        if child is ABSENT:
            child = {}
            _put(container, name, child)
        container = child
    _put(container, path[-1], value)


def take(container: Any, path: Path) -> Any:
    """Remove what is at `path` and return it, or ABSENT; later items of a list move up."""
    parent = find(container, path[:-1])
    value = member(parent, path[-1])
    if value is not ABSENT:
        del parent[int(path[-1]) if isinstance(parent, list) else path[-1]]
    return value


def _put(container: Any, name: str, value: Any) -> None:
    if isinstance(container, dict):
        container[name] = value
    elif isinstance(container, list):
        # Logstash passes over a name that is no index.
        if _INDEX.fullmatch(name):
            _put_item(container, int(name), value)
    else:
        shown = "" if container is None else container
        raise FieldError(
            f"Could not set field '{name}' on object '{shown}' to value '{value}'. This is probably due "
            "to trying to set a field like [foo][bar] = someValue when [foo] is not either a map or a list"
        )


def _put_item(items: list[Any], index: int, value: Any) -> None:
    length = len(items)
    if index < -length or index > length + _MOST_PADDING:
        raise FieldError(f"Index {index + length if index < 0 else index} out of bounds for length {length}")
    if index >= length:
        items.extend([None] * (index + 1 - length))
    items[index] = value
