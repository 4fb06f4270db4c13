"""Text to parse tree: the grammar, and its errors in the words of the language."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from cht_sync.pipeline.config.problems import Place, problem

DEEPEST_NESTING = 64
"""More open brackets at once than any configuration needs; the tree is walked recursively."""

_OPENING = {"LBRACE", "LSQB", "LPAR"}
_CLOSING = {"RBRACE", "RSQB", "RPAR"}
_NAMES = {
    "SECTION": "input, filter or output",
    "LBRACE": '"{"',
    "RBRACE": '"}"',
    "LSQB": '"["',
    "RSQB": '"]"',
    "LPAR": '"("',
    "RPAR": '")"',
    "COMMA": '","',
    "BANG": '"!"',
    "IF": "if",
    "ELSE": "else",
    "NAME": "a name",
    "CODEC_NAME": "a codec",
    "BAREWORD": "a word of two or more characters",
    "NUMBER": "a number",
    "STRING": "a string in quotes",
    "REGEX": "a /regular expression/",
    "FIELD": "a [field]",
    "COMPARE": "a comparison",
    "MATCH": "=~ or !~",
    "IN": "in",
    "NOT_IN": "not in",
    "BOOLEAN_OPERATOR": "and, or, xor or nand",
    "$END": "the end of the file",
}


@cache
def _parser() -> Lark:
    grammar = files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar, parser="lalr", lexer="contextual", maybe_placeholders=False, propagate_positions=True
    )


def parse_tree(text: str, path: str) -> Tree[Token]:
    """Return lark's tree of a configuration. Raises ConfigError at the first place that does not fit."""
    parsing = _parser().parse_interactive(text)
    depth = 0
    try:
        for token in parsing.iter_parse():
            if token.type in _OPENING:
                depth += 1
            elif token.type in _CLOSING:
                depth -= 1
            if depth > DEEPEST_NESTING:
                raise problem(f"nested deeper than {DEEPEST_NESTING} levels", place_of(token, path))
        tree: Tree[Token] = parsing.feed_eof()  # type: ignore[no-untyped-call]
    except UnexpectedCharacters as error:
        place = Place(path, error.line, error.column)
        if error.char in ("'", '"'):
            raise problem("this string is not closed, or its last quote follows a backslash", place) from None
        raise problem(_unexpected(repr(error.char), error.allowed or set()), place) from None
    except UnexpectedToken as error:
        if error.token.type == "$END":
            line = text.count("\n") + 1
            place = Place(path, line, len(text) - (text.rfind("\n") + 1) + 1)
            raise problem(_unexpected("the end of the file", error.expected), place) from None
        # A string is not shown: it may be a password.
        found = "a string" if error.token.type == "STRING" else repr(str(error.token))
        raise problem(_unexpected(found, error.expected), place_of(error.token, path)) from None
    return tree


def place_of(token: Token, path: str) -> Place:
    """Return where a token begins."""
    return Place(path, token.line or 0, token.column or 0)


def _unexpected(found: str, expected: set[str]) -> str:
    # The arrow is the one terminal that the grammar does not name.
    names = sorted(_NAMES.get(name, '"=>"') for name in expected - {"COMMENT", "WHITESPACE"})
    wanted = " or ".join(names) if len(names) < 3 else f"one of {', '.join(names)}"
    return f"unexpected {found}; expected {wanted}"
