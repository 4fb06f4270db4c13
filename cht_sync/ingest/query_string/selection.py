"""What to show: `select`."""

from __future__ import annotations

from cht_sync.ingest.query_string.fields import column_name, identifier, lexeme, spaced_field, stripped, word
from cht_sync.ingest.query_string.parsing import (
    Parser,
    Steps,
    ahead,
    always,
    attempt,
    either,
    enclosed,
    end_of_input,
    never,
    not_ahead,
    optional,
    parse,
    separated,
    steps,
    text_of,
)
from cht_sync.ingest.query_string.terms import Aggregated, Field, Related, Selected

AGGREGATES = ("sum", "avg", "count", "max", "min")


def selection(text: str) -> tuple[Selected | Aggregated | Related, ...]:
    return tuple(parse(optional(_fields, ()), text))


_item_end = either(attempt(ahead(text_of(")"))), attempt(ahead(text_of(","))), attempt(end_of_input))


@steps
def _alias_separator() -> Steps:
    yield text_of(":")
    yield not_ahead(text_of(":"))
    return None


@steps
def _alias() -> Steps:
    name = yield column_name
    yield _alias_separator
    return name


_maybe_alias = optional(attempt(_alias))


@steps
def _cast() -> Steps:
    yield text_of("::")
    return (yield stripped(identifier))


@steps
def _star() -> Steps:
    yield text_of("*")
    yield _item_end
    return Selected(Field("*"))


@steps
def _count() -> Steps:
    yield _maybe_alias
    yield text_of("count()")
    yield optional(_cast)
    yield _item_end
    return Aggregated()


@steps
def _aggregate() -> Steps:
    yield text_of(".")
    yield either(*(text_of(one) for one in AGGREGATES[:3]), word(*AGGREGATES[3:]))
    yield text_of("()")
    return True


@steps
def _plain_selected() -> Steps:
    alias = yield _maybe_alias
    field = yield spaced_field
    cast = yield optional(_cast)
    aggregate = yield optional(attempt(_aggregate))
    yield optional(_cast)
    yield _item_end
    return Aggregated() if aggregate else Selected(field, alias, cast)


_selected = lexeme(either(attempt(_star), attempt(_count), _plain_selected))


@steps
def _embed_parameter() -> Steps:
    yield text_of("!")
    return (yield either(word("left", "inner"), attempt(column_name)))


@steps
def _embed_end() -> Steps:
    yield optional(_embed_parameter)
    yield optional(_embed_parameter)
    yield attempt(ahead(text_of("(")))
    return None


@steps
def _spread() -> Steps:
    yield text_of("...")
    name = yield column_name
    yield _embed_end
    return Related(name)


@steps
def _relation() -> Steps:
    yield _maybe_alias
    name = yield column_name
    yield never if name == "count" else always(None)
    yield _embed_end
    return Related(name)


def _with_fields(relation: Parser) -> Parser:
    @steps
    def run() -> Steps:
        related = yield attempt(lexeme(relation))
        yield enclosed(optional(_fields, ()))
        return related

    return run


_fields: Parser = separated(
    either(_with_fields(_spread), _with_fields(_relation), _selected), lexeme(text_of(","))
)
