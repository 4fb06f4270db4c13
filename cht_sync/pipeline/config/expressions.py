"""Parse tree to condition tree: precedence, operands, and the forms that Logstash rewrites.

`and` binds closer than `or`; `xor` and `nand` stand alone or in parentheses. `!=`, `not in` and `!~`
have the meaning of Logstash's compiler: `a xor b` is `(!a and b) or (a and !b)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from lark import Token, Tree

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config.literals import number, unescaped, unquoted
from cht_sync.pipeline.config.parser import place_of
from cht_sync.pipeline.config.problems import Place, problem
from cht_sync.pipeline.config.tree import (
    AllOf,
    AnyOf,
    Compare,
    Comparison,
    Condition,
    Constant,
    Contains,
    Field,
    Matches,
    Not,
    Operand,
    Pattern,
    Truthy,
)
from cht_sync.pipeline.config.variables import replace_in_condition

Node = Tree[Token]

_COMPARISONS: dict[str, Comparison] = {
    "==": "eq",
    "!=": "neq",
    "<": "lt",
    ">": "gt",
    "<=": "lte",
    ">=": "gte",
}


class ExpressionBuilder:
    """Builds conditions; what is wrong is collected in `problems`, and building goes on."""

    def __init__(
        self, path: str, env: Mapping[str, str], problems: list[ConfigError], *, support_escapes: bool
    ) -> None:
        self._path = path
        self._env = env
        self._problems = problems
        self._support_escapes = support_escapes

    def condition(self, node: Node) -> Condition:
        """Return the condition of a `condition` node."""
        parts = [self._expression(child) for child in cast(list[Node], node.children[::2])]
        operators = cast(list[Token], node.children[1::2])
        special = [operator for operator in operators if operator in ("xor", "nand")]
        if special:
            if len(operators) > 1:
                self._problem(
                    f"Unexpected operator {special[0]} beside another; put it into parentheses",
                    place_of(special[0], self._path),
                )
            first, second = parts[:2]
            if special[0] == "nand":
                return Not(AllOf((first, second)))
            return AnyOf((AllOf((Not(first), second)), AllOf((first, Not(second)))))
        groups: list[list[Condition]] = [[parts[0]]]
        for operator, part in zip(operators, parts[1:], strict=True):
            if operator == "or":
                groups.append([part])
            else:
                groups[-1].append(part)
        anded = [group[0] if len(group) == 1 else AllOf(tuple(group)) for group in groups]
        return anded[0] if len(anded) == 1 else AnyOf(tuple(anded))

    def _expression(self, node: Node) -> Condition:
        if node.data == "condition":
            return self.condition(node)
        if node.data == "not_condition":
            return Not(self.condition(cast(Node, node.children[0])))
        if node.data == "not_field":
            return Not(Truthy(self._field(cast(Token, node.children[0]))))
        if node.data == "single":
            return Truthy(self._operand(node.children[0], "condition"))
        return self._match(node) if node.data == "match" else self._comparison(node)

    def _comparison(self, node: Node) -> Condition:
        left, operator, right = node.children
        if cast(Token, operator).type == "COMPARE":
            return Compare(
                _COMPARISONS[str(operator)],
                self._operand(left, "left-hand side of conditional", first_item=True),
                self._operand(right, "right-hand side of conditional", first_item=True),
            )
        contains = Contains(self._operand(left, "left-hand side of in"), self._container(right))
        return contains if str(operator) == "in" else Not(contains)

    def _match(self, node: Node) -> Condition:
        left, operator, right = cast(tuple[Node | Token, Token, Token], tuple(node.children))
        subject = self._operand(left, "left-hand side of a match")
        if isinstance(subject, Constant) and not isinstance(subject.value, str):
            self._problem("Expected a regexp in a match of a field or a text, not of a number", subject.place)
        matches = Matches(subject, Pattern(unquoted(right), place_of(right, self._path)))
        return matches if operator == "=~" else Not(matches)

    def _operand(self, node: Node | Token, what: str, *, first_item: bool = False) -> Operand:
        if isinstance(node, Token):
            if node.type == "FIELD":
                return self._field(node)
            if node.type != "REGEX":
                return Constant(self._literal(node), place_of(node, self._path))
        elif first_item:
            # Logstash compares with the first item only.
            for token in _leaves(node):
                return Constant(self._literal(token), place_of(token, self._path))
        place = place_of(node, self._path) if isinstance(node, Token) else self._place(node)
        self._problem(f"Failed to parse {what}", place)
        return Constant("", place)

    def _container(self, node: Node | Token) -> Operand:
        if isinstance(node, Tree):
            return Constant(self._item(node), self._place(node))
        if node.type in ("FIELD", "STRING"):
            return self._operand(node, "right-hand side of in")
        place = place_of(node, self._path)
        self._problem("in needs a field, an array or a text on its right", place)
        return Constant("", place)

    def _item(self, node: Node | Token) -> Any:
        if isinstance(node, Token):
            return self._literal(node)
        if node.data != "array":
            self._problem("an array in a condition cannot hold a hash", self._place(node))
            return ""
        return [self._item(child) for child in node.children]

    def _literal(self, token: Token) -> Any:
        if token.type == "BAREWORD":
            return str(token)
        try:
            if token.type == "NUMBER":
                return number(token)
            text = unquoted(token)
            return replace_in_condition(unescaped(text) if self._support_escapes else text, self._env)
        except ValueError as error:
            self._problem(str(error), place_of(token, self._path))
            return ""

    def _field(self, token: Token) -> Field:
        return Field(str(token), place_of(token, self._path))

    def _place(self, node: Node) -> Place:
        return Place(self._path, node.meta.line, node.meta.column)

    def _problem(self, message: str, place: Place) -> None:
        self._problems.append(problem(message, place))


def _leaves(node: Node) -> Iterator[Token]:
    for child in node.children:
        if isinstance(child, Token):
            yield child
        else:
            yield from _leaves(child)
