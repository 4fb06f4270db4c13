"""Joda-Time's patterns: cut into letters and texts.

Source: Joda-Time's DateTimeFormat. `YYYY` is the year of the era and `xxxx` the year of the week.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(r"(?P<letters>([A-Za-z])\2*)|(?P<text>(?:''|'(?:[^']|'')*(?:'|\Z)|[^A-Za-z'])+)")
_QUOTED = re.compile(r"''|'((?:[^']|'')*)(?:'|\Z)")
_LETTERS = frozenset("GCxyYMdahHkKmsSeEDwzZ")


class Part(NamedTuple):
    """A letter and how often it stands there; or, where `letter` is empty, a text."""

    letter: str
    length: int
    text: str = ""

    @property
    def is_numeric(self) -> bool:
        """Whether it is a number without a sign or a separator of its own."""
        return self.letter in _NUMERIC or (self.letter == "M" and self.length <= 2)


_NUMERIC = frozenset("CxyYdhHmsSeDwkK")


def parse_pattern(pattern: str) -> list[Part]:
    """Return the parts of a pattern. Raises ValueError for letters that mean nothing."""
    if not pattern:
        raise ValueError("Invalid pattern specification: it is empty")
    parts = []
    for found in _TOKEN.finditer(pattern):
        letters = found["letters"]
        if not letters:
            parts.append(Part("", 0, _QUOTED.sub(_unquoted, found["text"])))
        elif letters[0] in _LETTERS:
            parts.append(Part(letters[0], len(letters)))
        else:
            raise ValueError(f"Illegal pattern component: {letters}")
    return parts


def _unquoted(found: re.Match[str]) -> str:
    return "'" if found[1] is None else found[1].replace("''", "'")
