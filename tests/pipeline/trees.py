"""Trees of configurations as plain data, in the form of the recordings."""

from __future__ import annotations

from typing import Any

from cht_sync.pipeline.config.tree import (
    AllOf,
    AnyOf,
    Branch,
    Compare,
    Condition,
    Configuration,
    Contains,
    Field,
    Matches,
    Not,
    Operand,
    Plugin,
    Statement,
    Truthy,
)


def as_data(configuration: Configuration) -> dict[str, Any]:
    """Show a tree in the form of the recordings."""
    return {
        "inputs": [statement(node) for node in configuration.inputs],
        "filters": [statement(node) for node in configuration.filters],
        "outputs": [statement(node) for node in configuration.outputs],
    }


def statement(node: Statement) -> dict[str, Any]:
    if isinstance(node, Plugin):
        return {"plugin": node.name, "settings": settings(node)}
    (test, body), *others = node.cases
    shown: dict[str, Any] = {"if": outermost(test), "then": [statement(inner) for inner in body]}
    if others:
        shown["else"] = [statement(Branch(tuple(others), node.otherwise, node.place))]
    elif node.otherwise is not None:
        shown["else"] = [statement(inner) for inner in node.otherwise]
    return shown


def settings(node: Plugin) -> dict[str, Any]:
    return {name: value(setting.value) for name, setting in node.settings.items()}


def value(node: Any) -> Any:
    if isinstance(node, Plugin):
        return {"$plugin": node.name, "settings": settings(node)}
    if isinstance(node, dict):
        return {str(key): value(item) for key, item in node.items()}
    return [value(item) for item in node] if isinstance(node, list) else node


def outermost(node: Condition) -> dict[str, Any]:
    return {"truthy": operand(node.operand)} if isinstance(node, Truthy) else condition(node)


def condition(node: Condition) -> dict[str, Any]:  # noqa: PLR0911 (one form each)
    match node:
        case Truthy(subject):
            return operand(subject)
        case Not(inner):
            return {"not": condition(inner)}
        case AllOf(parts):
            return joined("and", [condition(part) for part in parts])
        case AnyOf(parts):
            return joined("or", [condition(part) for part in parts])
        case Compare(how, left, right):
            return {how: [operand(left), operand(right)]}
        case Contains(item, container):
            return {"in": [operand(item), operand(container)]}
        case Matches(subject, pattern):
            return {"regexeq": [operand(subject), {"regex": pattern.source}]}


def joined(word: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    first, *rest = parts
    return {word: [first, joined(word, rest)]} if rest else first


def operand(node: Operand) -> dict[str, Any]:
    return {"field": node.reference} if isinstance(node, Field) else {"value": node.value}
