"""Small parsers put together from smaller ones, which tell a fault in Parsec's words.

PostgREST shows what Haskell's Parsec says of a query string, down to the column. The rules here are
Parsec's: a parser that has consumed something is not backed out of, except under `attempt`, and of
several faults the one furthest to the right is told, with all that was expected there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

# The kinds of message, in the order in which they are shown.
FOUND = 0
UNEXPECTED = 1
EXPECTED = 2

ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\v": "\\v",
    "\f": "\\f",
    "\r": "\\r",
    "\\": "\\\\",
    "\x7f": "\\DEL",
}


class Fault(NamedTuple):
    """What went wrong at a place; no messages mean that nothing did."""

    at: int
    messages: tuple[tuple[int, str], ...] = ()

    def labelled(self, name: str) -> Fault:
        """Say what was expected by one name instead of by its parts."""
        others = tuple(message for message in self.messages if message[0] != EXPECTED)
        return Fault(self.at, ((EXPECTED, name), *others))

    def or_rather(self, other: Fault) -> Fault:
        if not other.messages and self.messages:
            return self
        if not self.messages and other.messages:
            return other
        if self.at == other.at:
            return Fault(self.at, self.messages + other.messages)
        return self if self.at > other.at else other


class Outcome(NamedTuple):
    """How a parser ended: `value` where `matched`, and where the next one goes on."""

    matched: bool
    consumed: bool
    value: Any
    at: int
    fault: Fault


Parser = Callable[[str, int], Outcome]
Steps = Generator[Parser, Any, Any]


class ParseFailure(Exception):
    """`position` counts characters from 0; `details` is one line."""

    def __init__(self, position: int, details: str) -> None:
        super().__init__(details)
        self.position = position
        self.details = details


def parse(parser: Parser, text: str) -> Any:
    """Return what `parser` makes of the beginning of `text`; raises ParseFailure."""
    outcome = parser(text, 0)
    if not outcome.matched:
        raise ParseFailure(outcome.fault.at, _told(outcome.fault))
    return outcome.value


def steps(function: Callable[[], Steps]) -> Parser:
    """Make a parser of a generator that yields parsers and is sent what each of them made."""

    def run(text: str, at: int) -> Outcome:
        generator = function()
        consumed = False
        fault = Fault(at)
        value: Any = None
        while True:
            try:
                following = generator.send(value)
            except StopIteration as end:
                return Outcome(True, consumed, end.value, at, fault)
            outcome = following(text, at)
            fault = outcome.fault if outcome.consumed else fault.or_rather(outcome.fault)
            consumed = consumed or outcome.consumed
            if not outcome.matched:
                generator.close()
                return Outcome(False, consumed, None, at, fault)
            value, at = outcome.value, outcome.at

    return run


def either(*parsers: Parser) -> Parser:
    """The first parser that matches, as long as those before it have consumed nothing."""

    def run(text: str, at: int) -> Outcome:
        fault = Fault(at)
        for parser in parsers:
            outcome = parser(text, at)
            if outcome.consumed:
                return outcome
            fault = fault.or_rather(outcome.fault)
            if outcome.matched:
                return outcome._replace(fault=fault)
        return Outcome(False, False, None, at, fault)

    return run


def attempt(parser: Parser) -> Parser:
    """The same parser, but where it fails nothing counts as consumed."""

    def run(text: str, at: int) -> Outcome:
        outcome = parser(text, at)
        return outcome if outcome.matched else outcome._replace(consumed=False, at=at)

    return run


def named(parser: Parser, name: str) -> Parser:
    """The same parser; where it matched nothing yet, its fault says that `name` was expected."""

    def run(text: str, at: int) -> Outcome:
        outcome = parser(text, at)
        if outcome.consumed or (outcome.matched and not outcome.fault.messages):
            return outcome
        return outcome._replace(fault=outcome.fault.labelled(name))

    return run


def ahead(parser: Parser) -> Parser:
    """Whether `parser` would match, without going on."""

    def run(text: str, at: int) -> Outcome:
        outcome = parser(text, at)
        return Outcome(True, False, outcome.value, at, Fault(at)) if outcome.matched else outcome

    return run


def not_ahead(parser: Parser) -> Parser:
    """The opposite of `ahead`."""

    def run(text: str, at: int) -> Outcome:
        outcome = parser(text, at)
        if outcome.matched:
            unexpected = (UNEXPECTED, shown(outcome.value, "'"))
            return Outcome(False, False, None, at, Fault(outcome.at, (unexpected,)))
        return Outcome(True, False, None, at, outcome.fault if not outcome.consumed else Fault(at))

    return run


def always(value: Any) -> Parser:
    """Match nothing, with this value."""
    return lambda _text, at: Outcome(True, False, value, at, Fault(at))


def never(_text: str, at: int) -> Outcome:
    """Fail without saying why."""
    return Outcome(False, False, None, at, Fault(at))


def many(parser: Parser) -> Parser:
    """As often as it matches, also not at all; a list."""

    def run(text: str, at: int) -> Outcome:
        values: list[Any] = []
        while (outcome := parser(text, at)).matched:
            values.append(outcome.value)
            at = outcome.at
        if outcome.consumed:
            return outcome
        return Outcome(True, bool(values), values, at, outcome.fault)

    return run


def optional(parser: Parser, otherwise: Any = None) -> Parser:
    return either(parser, always(otherwise))


def separated(parser: Parser, separator: Parser) -> Parser:
    """At least one, with a separator between each two; a list."""

    @steps
    def following() -> Steps:
        yield separator
        return (yield parser)

    @steps
    def run() -> Steps:
        first = yield parser
        return [first, *(yield many(following))]

    return run


def enclosed(parser: Parser) -> Parser:
    """In parentheses."""

    @steps
    def run() -> Steps:
        yield text_of("(")
        value = yield parser
        yield text_of(")")
        return value

    return run


def text_of(expected: str) -> Parser:
    """Exactly this text."""
    name = shown(expected, '"')

    def run(text: str, at: int) -> Outcome:
        if text.startswith(expected, at):
            end = at + len(expected)
            return Outcome(True, True, expected, end, Fault(end))
        wrong = next((i for i, one in enumerate(expected) if text[at + i : at + i + 1] != one), 0)
        found = text[at + wrong : at + wrong + 1]
        return Outcome(False, wrong > 0, None, at, Fault(at, ((EXPECTED, name), _found(found))))

    return run


def run_of(pattern: str, *expected: str, least: int = 0) -> Parser:
    """Characters of a regular expression's class, `least` of them or more, as one text.

    `expected` names what could have followed.
    """
    compiled = re.compile(f"(?:{pattern})*", re.DOTALL)

    def run(text: str, at: int) -> Outcome:
        found = compiled.match(text, at)
        end = found.end() if found else at
        fault = Fault(end, (*((EXPECTED, name) for name in expected), _found(text[end : end + 1])))
        return Outcome(end - at >= least, end > at, text[at:end], end, fault)

    return run


def one_of(pattern: str) -> Parser:
    """One character of a regular expression's class."""
    compiled = re.compile(pattern, re.DOTALL)

    def run(text: str, at: int) -> Outcome:
        if compiled.match(text, at):
            return Outcome(True, True, text[at], at + 1, Fault(at + 1))
        return Outcome(False, False, None, at, Fault(at, (_found(text[at : at + 1]),)))

    return run


def end_of_input(text: str, at: int) -> Outcome:
    if at == len(text):
        return Outcome(True, False, None, at, Fault(at, ((EXPECTED, "end of input"), _found(""))))
    unexpected = (UNEXPECTED, shown(text[at], "'"))
    return Outcome(False, False, None, at, Fault(at, ((EXPECTED, "end of input"), unexpected)))


def shown(text: str, quote: str) -> str:
    """Text as Haskell shows it: quoted, and whatever is not plain ASCII escaped."""
    escaped = "".join(
        f"\\{one}" if one == quote else ESCAPES.get(one, one if " " <= one <= "~" else f"\\{ord(one)}")
        for one in text
    )
    return f"{quote}{escaped}{quote}"


def _found(text: str) -> tuple[int, str]:
    return FOUND, shown(text, '"') if text else ""


def _told(fault: Fault) -> str:
    by_kind: dict[int, list[str]] = {FOUND: [], UNEXPECTED: [], EXPECTED: []}
    for kind, text in fault.messages:
        by_kind[kind].append(text)
    lines = []
    if by_kind[UNEXPECTED]:
        lines.append(f"unexpected {_listed(by_kind[UNEXPECTED])}")
    elif by_kind[FOUND]:
        lines.append(f"unexpected {by_kind[FOUND][0] or 'end of input'}")
    if by_kind[EXPECTED]:
        lines.append(f"expecting {_listed(by_kind[EXPECTED])}")
    return " ".join(lines) or "unknown parse error"


def _listed(texts: list[str]) -> str:
    *others, last = dict.fromkeys(filter(None, texts))
    return f"{', '.join(others)} or {last}" if others else last
