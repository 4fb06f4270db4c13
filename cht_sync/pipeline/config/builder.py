"""Parse tree to configuration tree: the checks and conversions that Logstash makes between the two."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, cast

from lark import Token, Tree

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config.expressions import ExpressionBuilder
from cht_sync.pipeline.config.literals import join_settings, number, unescaped, unquoted
from cht_sync.pipeline.config.parser import place_of
from cht_sync.pipeline.config.problems import Place, problem
from cht_sync.pipeline.config.tree import (
    UNREADABLE,
    Branch,
    Configuration,
    Plugin,
    SectionName,
    Setting,
    Statement,
    is_readable,
)
from cht_sync.pipeline.config.variables import replace_in_setting

Node = Tree[Token]

_BAREWORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]+", re.ASCII)


class Builder:
    """Builds the tree of one text; what is wrong is collected in `problems`, and building goes on."""

    def __init__(self, text: str, path: str, env: Mapping[str, str], *, support_escapes: bool) -> None:
        self.problems: list[ConfigError] = []
        self._text = text
        self._path = path
        self._env = env
        self._support_escapes = support_escapes
        self._expressions = ExpressionBuilder(path, env, self.problems, support_escapes=support_escapes)

    def build(self, tree: Node) -> Configuration:
        """Return the tree of a whole text."""
        configuration = Configuration()
        for section in cast(list[Node], tree.children):
            name, *statements = section.children
            configuration.section(cast(SectionName, str(name))).extend(self._statements(statements))
        return configuration

    def _statements(self, nodes: Iterable[Node | Token]) -> list[Statement]:
        return [
            self._plugin(node) if node.data == "plugin" else self._branch(node)
            for node in cast(Iterable[Node], nodes)
        ]

    def _branch(self, node: Node) -> Branch:
        cases = []
        otherwise: list[Statement] | None = None
        for part in cast(list[Node], node.children):
            if part.data == "else_branch":
                otherwise = self._statements(part.children[1:])
                continue
            start = 1 if part.data == "if_branch" else 2
            condition = self._expressions.condition(cast(Node, part.children[start]))
            cases.append((condition, self._statements(part.children[start + 1 :])))
        return Branch(tuple(cases), otherwise, Place(self._path, node.meta.line, node.meta.column))

    def _plugin(self, node: Node) -> Plugin:
        name, *attributes = node.children
        token = cast(Token, name)
        self._check_blanks(cast(list[Node], attributes))
        # A quoted plugin name keeps its quotes in Logstash too, and is then not found.
        plugin = Plugin(str(token), {}, place_of(token, self._path))
        for attribute in cast(list[Node], attributes):
            self._add_setting(plugin, attribute)
        return plugin

    def _add_setting(self, plugin: Plugin, attribute: Node) -> None:
        token, node = cast(tuple[Token, Node | Token], tuple(attribute.children))
        place = place_of(token, self._path)
        name = unquoted(token) if token.type == "STRING" else str(token)
        if token.type == "NUMBER" and "." in name:
            self._problem(f"{name} is not the name of a setting", place)
        value = self._value(node)
        present = plugin.settings.get(name)
        if present is None:
            plugin.settings[name] = Setting(value, place)
        elif name == "codec":
            self._problem(f"{plugin.name} has multiple `codec` declarations", place)
        elif not (is_readable(present.value) and is_readable(value)):
            plugin.settings[name] = Setting(UNREADABLE, present.place)
        else:
            try:
                plugin.settings[name] = Setting(join_settings(present.value, value), present.place)
            except ValueError as error:
                self._problem(f'"{name}" is {error}', place)

    def _check_blanks(self, attributes: list[Node]) -> None:
        for before, after in pairwise(attributes):
            if self._text[before.meta.end_pos] not in " \t\r\n":
                self._problem("a blank or a new line is needed before this setting", self._place(after))

    def _value(self, node: Node | Token) -> Any:
        if isinstance(node, Token):
            return self._literal(node)
        if node.data == "array":
            return [self._value(child) for child in node.children]
        return self._hash(node) if node.data == "hash" else self._plugin(node)

    def _literal(self, token: Token) -> Any:
        if token.type == "BAREWORD":
            return str(token)
        place = place_of(token, self._path)
        try:
            if token.type == "NUMBER":
                return number(token)
            return replace_in_setting(self._string(token), self._env)
        except ValueError as error:
            self._problem(str(error), place)
            return UNREADABLE

    def _hash(self, node: Node) -> dict[Any, Any]:
        entries = cast(list[Node], node.children)
        written = [str(entry.children[0]) for entry in entries]
        twice = sorted({text for text in written if written.count(text) > 1})
        if twice:
            self._problem(
                f"Duplicate keys found in your configuration: [{', '.join(twice)}]", self._place(node)
            )
        return {
            self._key(cast(Token, entry.children[0])): self._value(entry.children[1]) for entry in entries
        }

    def _key(self, token: Token) -> Any:
        # Variables are not replaced in keys.
        if token.type == "STRING":
            return self._string(token)
        if token.type == "NUMBER":
            return self._literal(token)
        if not _BAREWORD.fullmatch(token):
            self._problem(f"the key {token} must be put into quotes", place_of(token, self._path))
        return str(token)

    def _string(self, token: Token) -> str:
        text = unquoted(token)
        return unescaped(text) if self._support_escapes else text

    def _place(self, node: Node) -> Place:
        return Place(self._path, node.meta.line, node.meta.column)

    def _problem(self, message: str, place: Place) -> None:
        self.problems.append(problem(message, place))
