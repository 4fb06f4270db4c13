"""The order of rows: `order`."""

from __future__ import annotations

from typing import Any

from cht_sync.ingest.query_string.fields import column_name, delimiter, lexeme, spaced_field
from cht_sync.ingest.query_string.parsing import (
    Parser,
    Steps,
    ahead,
    attempt,
    either,
    enclosed,
    end_of_input,
    optional,
    parse,
    separated,
    steps,
    text_of,
)
from cht_sync.ingest.query_string.terms import Order

DIRECTIONS = {"asc": "ASC", "desc": "DESC"}
NULLS = {"nullsfirst": "NULLS FIRST", "nullslast": "NULLS LAST"}


def ordering(text: str) -> tuple[Order, ...]:
    return tuple(parse(separated(lexeme(either(attempt(_related_order), _order)), text_of(",")), text))


_order_end = either(attempt(ahead(text_of(","))), attempt(end_of_input))


def _modifier(words: dict[str, str]) -> Parser:
    def one(word: str) -> Parser:
        @steps
        def run() -> Steps:
            yield delimiter
            yield text_of(word)
            return words[word]

        return attempt(run)

    return either(*map(one, words))


@steps
def _nulls_then_end() -> Steps:
    nulls = yield optional(_modifier(NULLS))
    yield _order_end
    return nulls


@steps
def _no_nulls() -> Steps:
    yield _order_end
    return None


@steps
def _modifiers() -> Steps:
    direction = yield optional(_modifier(DIRECTIONS))
    nulls = yield either(_nulls_then_end, _no_nulls)
    found: list[Any] = [direction, nulls]
    return tuple(filter(None, found))


@steps
def _order() -> Steps:
    field = yield spaced_field
    return Order(field, (yield _modifiers))


@steps
def _related_order() -> Steps:
    relation = yield column_name
    field = yield enclosed(spaced_field)
    return Order(field, (yield _modifiers), relation)
