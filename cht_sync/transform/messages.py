"""Error messages without what documents say.

PostgreSQL quotes the value that it could not use, and its DETAIL quotes whole keys and rows. Such texts
go into tables, logs and screens that more people see than may see a patient's data; dbt's own log on the
machine has them whole.
"""

from __future__ import annotations

import re

CUT = '"…"'
"""Stands for what was left out."""
MOST_LETTERS = 1000

_OPENING = re.compile('["«»„“”]')
_NAMES = re.compile(
    r"\b(?:column|relation|table|view|materialized view|index|sequence|schema|database|role|constraint"
    r"|type|enum|encoding|operator|language|extension|collation|parameter|at or near|for table)\s+$"
)
"""What stands before a quoted name that comes from the SQL. After anything else it may be a value."""
_NAME = re.compile(r'"[^"\n]{1,63}"')
_QUOTING = re.compile(r"^\s*(?:DETAIL|CONTEXT|QUERY|STATEMENT|INTERNAL QUERY)\s*:", re.MULTILINE)
_PLACE = re.compile(r"^\s*compiled code at .*$", re.MULTILINE)
_SECTION = re.compile(r"^\s*(?=(?:LINE \d+|HINT)\s*:)", re.MULTILINE)
_LINE = re.compile(r"LINE \d+")
_BYTES = re.compile(r"\b0x[0-9a-fA-F]{2}(?:\s+0x[0-9a-fA-F]{2})*")


def without_values(message: str) -> str:
    """Return what dbt or PostgreSQL said, without values of documents, at most MOST_LETTERS long.

    DETAIL, CONTEXT and whatever follows them are cut, and so is all quoted text but names that come
    from the SQL. The path of the compiled SQL is cut too: it has a field of its own.
    """
    text = message
    if quoting := _QUOTING.search(text):
        text = text[: quoting.start()]
    text = _PLACE.sub("", text)
    parts = [_part(part) for part in _SECTION.split(text)]
    lines = [line.strip() for part in parts for line in part.splitlines()]
    short = "\n".join(line for line in lines if line.strip("^ "))
    return short if len(short) <= MOST_LETTERS else short[: MOST_LETTERS - 1] + "…"


def _part(text: str) -> str:
    line = _LINE.match(text)
    # The excerpt may begin or end within a literal.
    if line and "'" in text:
        return line[0] + ": …"
    return _BYTES.sub("…", _without_quoted(text))


def _without_quoted(text: str) -> str:
    """A value may hold quotation marks itself, so all from the first doubtful one to the last is cut."""
    at = 0
    while opening := _OPENING.search(text, at):
        name = _NAME.match(text, opening.start())
        if name is None or not _NAMES.search(text, 0, opening.start()):
            last = max(text.rfind(mark) for mark in '"«»„“”')
            return text[: opening.start()] + CUT + text[last + 1 :]
        at = name.end()
    return text
