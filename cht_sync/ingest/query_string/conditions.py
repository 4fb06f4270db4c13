"""Conditions: `eq.1`, `not.in.(a,b)`, `or(a.eq.1,b.is.null)`."""

from __future__ import annotations

from cht_sync.ingest.query_string.fields import (
    any_case,
    column_name,
    delimiter,
    identifier,
    lexeme,
    quoted,
    spaced_field,
    stripped,
    tree_path,
    word,
)
from cht_sync.ingest.query_string.parsing import (
    Parser,
    Steps,
    always,
    attempt,
    either,
    enclosed,
    named,
    not_ahead,
    one_of,
    optional,
    parse,
    run_of,
    separated,
    steps,
    text_of,
)
from cht_sync.ingest.query_string.terms import Condition, Field, Logic

QUANTIFIED = ("eq", "gte", "gt", "lte", "lt", "like", "ilike", "match", "imatch")
PLAIN = ("neq", "cs", "cd", "ov", "sl", "sr", "nxr", "nxl", "adj")
FULL_TEXT = ("fts", "plfts", "phfts", "wfts")
STATES = ("null", "not_null", "true", "false", "unknown")
Path = tuple[str, ...]
"""Names of embedded tables before the last name; empty for the table itself."""


def field_of(key: str) -> tuple[Path, Field]:
    """Read the name of a parameter that filters: `name`, `doc->>type`, `embedded.name`."""
    *path, name, steps_of_path = parse(tree_path, key)
    return tuple(path), Field(name, steps_of_path)


def logic_of(key: str) -> tuple[Path, str]:
    """Read the name of a parameter that joins conditions; also `not.or`."""
    *path, operator = parse(separated(column_name, delimiter), key)
    negated = "not" in (*path, operator)
    return tuple(one for one in path if one != "not"), f"not.{operator}" if negated else operator


def condition(value: str, field: Field) -> Condition:
    operator, operand, negated, argument = parse(_operation(run_of(".")), value)
    return Condition(field, operator, operand, negated, argument)


def logic(text: str) -> Condition | Logic:
    """Read `and(...)` or `or(...)`, perhaps with `not.` before it."""
    tree: Condition | Logic = parse(_logic_tree, text)
    return tree


@steps
def _list_element_quoted() -> Steps:
    value = yield quoted
    yield not_ahead(one_of(r"[^,)]"))
    return value


_list_element = either(attempt(_list_element_quoted), run_of(r"[^,)]"))


@steps
def _list() -> Steps:
    yield lexeme(text_of("("))
    values = yield separated(_list_element, text_of(","))
    yield lexeme(text_of(")"))
    return tuple(values)


@steps
def _array() -> Steps:
    yield text_of("{")
    inside = yield run_of("[^{}]")
    yield text_of("}")
    return "{" + inside + "}"


_logic_value = either(attempt(_list_element_quoted), attempt(_array), run_of(r"[^,)]"))
_state = named(either(*map(any_case, STATES)), "isVal: (null, not_null, true, false, unknown)")


def _operation(value: Parser) -> Parser:
    """`operator.value`, perhaps with `not.` before it: operator, operand, negated, argument."""

    def dotted(word: str) -> Parser:
        @steps
        def run() -> Steps:
            yield text_of(word)
            yield delimiter
            return word

        return attempt(run)

    def special(word: str, operand: Parser) -> Parser:
        @steps
        def run() -> Steps:
            yield dotted(word)
            return word, (yield operand), None

        return run

    def general(operators: Parser, argument: Parser) -> Parser:
        @steps
        def run() -> Steps:
            operator = yield operators
            extra = yield argument
            yield delimiter
            return operator, (yield value), extra

        return attempt(run)

    in_parentheses = optional(attempt(enclosed(stripped(identifier))))
    quantifier = optional(attempt(enclosed(either(attempt(text_of("any")), text_of("all")))))
    unknown = "unknown single value operator"
    operations = named(
        either(
            special("in", _list),
            special("is", _state),
            special("isdistinct", value),
            general(word(*FULL_TEXT), in_parentheses),
            general(named(word(*PLAIN), unknown), always(None)),
            general(named(word(*QUANTIFIED), unknown), quantifier),
        ),
        "operator (eq, gt, ...)",
    )

    @steps
    def run() -> Steps:
        negated = yield _negation
        operator, operand, argument = yield operations
        return operator, operand, negated, argument

    return run


@steps
def _not() -> Steps:
    yield text_of("not")
    yield delimiter
    return True


_negation = either(attempt(_not), always(False))


@steps
def _logic_condition() -> Steps:
    field = yield spaced_field
    yield delimiter
    operator, operand, negated, argument = yield _operation(_logic_value)
    return Condition(field, operator, operand, negated, argument)


@steps
def _logic_expression() -> Steps:
    negated = yield named(_negation, "negation operator (not)")
    operator = yield named(either(attempt(text_of("and")), text_of("or")), "logic operator (and, or)")
    yield lexeme(text_of("("))
    parts = yield separated(_logic_tree, lexeme(text_of(",")))
    yield lexeme(text_of(")"))
    return Logic(operator, tuple(parts), negated)


_logic_tree: Parser = either(attempt(_logic_condition), _logic_expression)
