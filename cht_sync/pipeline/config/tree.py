"""The tree of a configuration: what was written, with places, before anything is looked up.

Values of settings are text, int, float, list, dict, `Plugin` for a codec with a body, and `UNREADABLE`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cht_sync.pipeline.config.problems import Place

SectionName = Literal["input", "filter", "output"]
Comparison = Literal["eq", "neq", "lt", "gt", "lte", "gte"]


class _Unreadable(enum.Enum):
    VALUE = "unreadable"


UNREADABLE = _Unreadable.VALUE
"""Stands for a value that is wrong by itself, and has been said to be; nothing more is said of it."""


def is_readable(value: Any) -> bool:
    """Whether no part of a value is UNREADABLE."""
    if isinstance(value, dict):
        return all(is_readable(key) and is_readable(item) for key, item in value.items())
    return all(map(is_readable, value)) if isinstance(value, list) else value is not UNREADABLE


@dataclass(frozen=True)
class Setting:
    """The value of one setting; given several times, the values are joined as Logstash joins them."""

    value: Any
    place: Place


@dataclass(frozen=True)
class Plugin:
    name: str
    settings: dict[str, Setting]
    place: Place


@dataclass(frozen=True)
class Field:
    """A field reference as written, with its brackets."""

    reference: str
    place: Place


@dataclass(frozen=True)
class Constant:
    """A text, a number, or (only on the right of `in`) a list."""

    value: Any
    place: Place


@dataclass(frozen=True)
class Pattern:
    """A regular expression in Ruby's syntax."""

    source: str
    place: Place


Operand = Field | Constant


@dataclass(frozen=True)
class Truthy:
    operand: Operand


@dataclass(frozen=True)
class Compare:
    how: Comparison
    left: Operand
    right: Operand


@dataclass(frozen=True)
class Contains:
    """`item in container`"""

    item: Operand
    container: Operand


@dataclass(frozen=True)
class Matches:
    subject: Operand
    pattern: Pattern


@dataclass(frozen=True)
class Not:
    condition: Condition


@dataclass(frozen=True)
class AllOf:
    """`and`"""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class AnyOf:
    """`or`"""

    conditions: tuple[Condition, ...]


Condition = Truthy | Compare | Contains | Matches | Not | AllOf | AnyOf


@dataclass(frozen=True)
class Branch:
    """`if`, any number of `else if`, and `else`; `otherwise` is None where there is no `else`."""

    cases: tuple[tuple[Condition, Sequence[Statement]], ...]
    otherwise: Sequence[Statement] | None
    place: Place


Statement = Plugin | Branch


@dataclass
class Configuration:
    """The statements of all sections of a kind, in the order in which they were written."""

    inputs: list[Statement] = field(default_factory=list)
    filters: list[Statement] = field(default_factory=list)
    outputs: list[Statement] = field(default_factory=list)

    def section(self, name: SectionName) -> list[Statement]:
        """Return the statements of one kind of section."""
        return {"input": self.inputs, "filter": self.filters, "output": self.outputs}[name]

    def add(self, other: Configuration) -> None:
        """Append what another file says."""
        self.inputs.extend(other.inputs)
        self.filters.extend(other.filters)
        self.outputs.extend(other.outputs)
