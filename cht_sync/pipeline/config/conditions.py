"""Condition tree to function: Logstash's truth, equality, order and membership.

Where Logstash's comparison fails for an event (`[x] > 5` with `x` missing), it cancels the event and
loses others of the batch. Here the condition raises ConditionFailure, and whoever asked (see
`routing`) takes it as false and tags the event `_condition_failure`: nothing is lost.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from cht_sync.pipeline.config.problems import problem
from cht_sync.pipeline.config.ruby_regex import compile_ruby
from cht_sync.pipeline.config.tree import (
    AllOf,
    AnyOf,
    Compare,
    Condition,
    Constant,
    Contains,
    Field,
    Matches,
    Not,
    Operand,
    Truthy,
)
from cht_sync.pipeline.document import ABSENT, RawDocument
from cht_sync.pipeline.event import Event, getter
from cht_sync.pipeline.templates import text_of
from cht_sync.pipeline.timestamp import Timestamp

Test = Callable[[Event], bool]
Read = Callable[[Event], Any]

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "gt": operator.gt,
    "lte": operator.le,
    "gte": operator.ge,
}


class ConditionFailure(ValueError):
    """A condition that has no answer for an event."""


def compile_condition(condition: Condition) -> Test:
    """Return a function that tests an event; it raises ConditionFailure where there is no answer.

    Raises ConfigError for a regular expression or a comparison that can never be evaluated.
    """
    match condition:
        case Truthy(operand):
            read = _peek(operand)
            return lambda event: _is_true(read(event))
        case Not(inner):
            test = compile_condition(inner)
            return lambda event: not test(event)
        case AllOf(parts) | AnyOf(parts):
            tests = [compile_condition(part) for part in parts]
            decide = all if isinstance(condition, AllOf) else any
            return lambda event: decide(test(event) for test in tests)
        case Compare():
            return _compare(condition)
        case Contains():
            return _contains(condition)
        case Matches():
            return _matches(condition)


def _compare(condition: Compare) -> Test:
    left, right = _value(condition.left), _value(condition.right)
    if condition.how == "eq":
        return lambda event: _same(left(event), right(event))
    if condition.how == "neq":
        return lambda event: not _same(left(event), right(event))
    if isinstance(condition.left, Constant) and isinstance(condition.right, Constant):
        try:
            _in_order(condition.how, condition.left.value, condition.right.value)
        except ConditionFailure as error:
            raise problem(str(error), condition.left.place) from None
    how = condition.how
    return lambda event: _in_order(how, left(event), right(event))


def _contains(condition: Contains) -> Test:
    item, container = condition.item, condition.container
    read = _value(item)
    if isinstance(item, Constant) and isinstance(container, Constant):
        # Logstash's compiler compares two constants by a test meant for fields: never true.
        return lambda _event: False
    if isinstance(container, Field):
        within = _value(container)
        if isinstance(item, Constant):
            return lambda event: _constant_in(item.value, within(event))
        return lambda event: _value_in(read(event), within(event))
    if isinstance(container.value, str):
        text: str = container.value
        return lambda event: isinstance(value := read(event), str) and value in text
    texts = frozenset(map(text_of, container.value))

    def is_listed(event: Event) -> bool:
        value = read(event)
        return value is not ABSENT and not isinstance(value, list | dict) and text_of(value) in texts

    return is_listed


def _matches(condition: Matches) -> Test:
    read = _value(condition.subject)
    try:
        search = compile_ruby(condition.pattern.source).search
    except ValueError as error:
        raise problem(str(error), condition.pattern.place) from None
    return lambda event: isinstance(value := read(event), str) and search(value) is not None


def _peek(operand: Operand) -> Read:
    """Read without decoding a raw document."""
    if isinstance(operand, Field):
        return getter(operand.reference)
    value = operand.value
    return lambda _event: value


def _value(operand: Operand) -> Read:
    read = _peek(operand)

    def decoded(event: Event) -> Any:
        value = read(event)
        return value.decode() if type(value) is RawDocument else value

    return decoded if isinstance(operand, Field) else read


def _is_true(value: Any) -> bool:
    # Zero and empty lists are true; the text "false" is not.
    return not (value is None or value is ABSENT or value is False or value in ("", "false"))


def _same(left: Any, right: Any) -> bool:
    # A missing field equals a null one; 5 and 5.0 differ.
    left = None if left is ABSENT else left
    right = None if right is ABSENT else right
    return type(left) is type(right) and bool(left == right)


def _in_order(how: str, left: Any, right: Any) -> bool:
    for value in (left, right):
        if value is ABSENT or isinstance(value, list | dict):
            raise ConditionFailure("a missing field, a list or a map has no order")
    if _is_number(left) and _is_number(right):
        return _ORDERS[how](left, right)
    if {_is_number(left), _is_number(right)} == {True, False} and str in (type(left), type(right)):
        raise ConditionFailure("a number and a text cannot be put in order")
    if type(left) is type(right) and isinstance(left, str):
        return _ORDERS[how](left, right)
    if isinstance(left, Timestamp) and isinstance(right, Timestamp):
        return _ORDERS[how](left.nanoseconds, right.nanoseconds)
    # Ruby leaves these undefined, and Logstash takes undefined as equal.
    return how in ("lte", "gte")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _constant_in(item: Any, container: Any) -> bool:
    if isinstance(container, list):
        return any(_same(item, member) for member in container)
    return isinstance(item, str) and isinstance(container, str) and item in container


def _value_in(item: Any, container: Any) -> bool:
    if isinstance(container, list):
        if item is ABSENT:
            raise ConditionFailure("a missing field cannot be looked for in a list")
        return any(_same(item, member) for member in container)
    if isinstance(item, str) and isinstance(container, str):
        return item in container
    return _is_number(item) and _same(item, container)
