"""Trees of configurations as text, and filters made of plain values: the parser's way backwards.

Texts are written with the escapes of config.support_escapes, so that any text can be written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Any

from cht_sync.pipeline.config import CONFIG_STRING, build, check
from cht_sync.pipeline.config.problems import Place
from cht_sync.pipeline.config.tree import (
    AllOf,
    AnyOf,
    Branch,
    Compare,
    Condition,
    Configuration,
    Constant,
    Contains,
    Field,
    Matches,
    Not,
    Operand,
    Plugin,
    Setting,
    Statement,
    Truthy,
)
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import PluginContext

CONTEXT = PluginContext("main", Path())

_SIGNS = {"eq": "==", "neq": "!=", "lt": "<", "gt": ">", "lte": "<=", "gte": ">="}


def filtered(
    name: str, config: dict[str, Any], event: Event, context: PluginContext = CONTEXT
) -> list[Event]:
    """Return what one filter makes of an event; not by way of text, where no string ends in a backslash."""
    place = Place(CONFIG_STRING, 1, 1)
    settings = {key: Setting(_as_written(item), place) for key, item in config.items()}
    tree = Configuration(filters=[Plugin(name, settings, place)])
    return build(check(tree), context).filter([event])


def _as_written(item: Any) -> Any:
    if isinstance(item, list):
        return [_as_written(inner) for inner in item]
    if isinstance(item, dict):
        return {key: _as_written(inner) for key, inner in item.items()}
    # The language has no booleans, only the words.
    return str(item).lower() if isinstance(item, bool) else item


def configuration(tree: Configuration) -> str:
    """Write a whole tree."""
    sections = (("input", tree.inputs), ("filter", tree.filters), ("output", tree.outputs))
    return "\n".join(f"{name} {{ {statements(body)} }}" for name, body in sections)


def statements(body: Iterable[Statement]) -> str:
    return "\n".join(plugin(node) if isinstance(node, Plugin) else branch(node) for node in body)


def plugin(node: Plugin) -> str:
    settings = "\n".join(
        f"{value(name)} => {value(setting.value)}" for name, setting in node.settings.items()
    )
    return f"{node.name} {{ {settings} }}"


def branch(node: Branch) -> str:
    cases = " else ".join(f"if {condition(test)} {{ {statements(body)} }}" for test, body in node.cases)
    return cases if node.otherwise is None else f"{cases} else {{ {statements(node.otherwise)} }}"


def value(item: Any) -> str:
    if isinstance(item, Plugin):
        return plugin(item)
    if isinstance(item, dict):
        return "{ " + " ".join(f"{value(key)} => {value(inner)}" for key, inner in item.items()) + " }"
    if isinstance(item, list | tuple):
        return f"[{', '.join(map(value, item))}]"
    if isinstance(item, str):
        return '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return json.dumps(item)


def condition(node: Condition) -> str:  # noqa: PLR0911 (one form each)
    """Write a condition with no more parentheses than it needs: `and` binds closer than `or`."""
    match node:
        case Truthy(subject):
            return operand(subject)
        case Not(Truthy(Field(reference))):
            return f"!{reference}"
        case Not(Contains(item, container)):
            return f"{operand(item)} not in {operand(container)}"
        case Not(Matches(subject, pattern)):
            return f"{operand(subject)} !~ /{pattern.source}/"
        case Not(inner):
            return f"!({condition(inner)})"
        case AllOf(parts):
            return " and ".join(bracketed(part, AllOf | AnyOf) for part in parts)
        case AnyOf(parts):
            return " or ".join(bracketed(part, AnyOf) for part in parts)
        case Compare(how, left, right):
            return f"{operand(left)} {_SIGNS[how]} {operand(right)}"
        case Contains(item, container):
            return f"{operand(item)} in {operand(container)}"
        case Matches(subject, pattern):
            return f"{operand(subject)} =~ /{pattern.source}/"


def bracketed(node: Condition, kinds: type | UnionType) -> str:
    """Write a condition, in parentheses if it is of these kinds."""
    return f"({condition(node)})" if isinstance(node, kinds) else condition(node)


def operand(node: Operand) -> str:
    match node:
        case Field(reference):
            return reference
        case Constant(constant):
            return value(constant)
