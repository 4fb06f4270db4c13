"""Names, quoted texts and fields: what the other parts of the grammar are made of."""

from __future__ import annotations

from cht_sync.ingest.query_string.parsing import (
    Parser,
    Steps,
    ahead,
    attempt,
    either,
    end_of_input,
    many,
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
from cht_sync.ingest.query_string.terms import Field, Step


def lexeme(parser: Parser) -> Parser:
    @steps
    def run() -> Steps:
        yield run_of("[ \t]")
        value = yield parser
        yield run_of("[ \t]")
        return value

    return run


def word(*words: str) -> Parser:
    return either(*(attempt(text_of(word)) for word in words))


def any_case(word: str) -> Parser:
    @steps
    def run() -> Steps:
        for letter in word:
            yield either(text_of(letter), text_of(letter.upper()))
        return word

    return attempt(run)


@steps
def quoted() -> Steps:
    yield text_of('"')
    parts = yield many(either(run_of(r'[^\\"]', least=1), _escaped))
    yield text_of('"')
    return "".join(parts)


@steps
def _escaped() -> Steps:
    yield text_of("\\")
    return (yield one_of("."))


delimiter = named(text_of("."), "delimiter (.)")
identifier = run_of(r"[\w $]", "letter", "digit", least=1)


def stripped(parser: Parser) -> Parser:
    @steps
    def run() -> Steps:
        return (yield parser).strip()

    return run


@steps
def _dash() -> Steps:
    yield text_of("-")
    yield not_ahead(text_of(">"))
    return "-"


def _dashed(parser: Parser) -> Parser:
    @steps
    def run() -> Steps:
        return "-".join((yield separated(parser, attempt(_dash))))

    return run


column_name = named(either(quoted, _dashed(stripped(identifier))), "field name (* or [a..z0..9_$])")
_json_key = named(
    either(quoted, _dashed(stripped(run_of(r"[^(\-:.,>)]", least=1)))),
    "any non reserved character different from: .,>()",
)


@steps
def _json_index() -> Steps:
    sign = yield optional(text_of("-"), "+")
    digits = yield run_of("[0-9]", "digit", least=1)
    yield either(*(attempt(ahead(text_of(end))) for end in ("->", "::", ".", ",")), attempt(end_of_input))
    return Step(sign + digits, is_index=True)


@steps
def _json_step() -> Steps:
    arrow = yield either(attempt(text_of("->>")), attempt(text_of("->")))
    to = yield either(attempt(_json_index), attempt(_json_key))
    as_text = arrow == "->>"
    return Step(to.to, True, as_text) if isinstance(to, Step) else Step(to, False, as_text)


@steps
def json_path() -> Steps:
    return tuple((yield many(_json_step)))


@steps
def _plain_field() -> Steps:
    name = yield column_name
    return Field(name, (yield optional(json_path, ())))


spaced_field = lexeme(_plain_field)


@steps
def tree_path() -> Steps:
    path = yield separated(column_name, delimiter)
    return (*path, (yield optional(json_path, ())))


def names(text: str) -> tuple[str, ...]:
    """Read `columns` and `on_conflict`."""
    return tuple(parse(separated(column_name, lexeme(text_of(","))), text))
