"""JSON text that PostgreSQL's jsonb can hold.

jsonb refuses `\\u0000` (22P05) and lone surrogates (22P02), which CouchDB's relatives let through. Only
the offending escape is replaced, by U+FFFD; a text that merely looks like one, a backslash followed by
u0000 as characters, is left alone.
"""

from __future__ import annotations

import re

REPLACEMENT = b"\\ufffd"

_ESCAPES = re.compile(
    rb"""
      \\\\                                                      # an escaped backslash: no escape begins here
    | \\u[dD][89abAB][0-9a-fA-F]{2} \\u[dD][c-fC-F][0-9a-fA-F]{2}  # a pair, which is one character
    | (?P<bad> \\u0000 | \\u[dD][89a-fA-F][0-9a-fA-F]{2} )
    """,
    re.VERBOSE,
)


def storable(text: bytes) -> tuple[bytes, int]:
    """Return the JSON text with what jsonb refuses replaced, and the number of replacements."""
    if b"\\u" not in text:
        return text, 0
    count = 0

    def replace(match: re.Match[bytes]) -> bytes:
        nonlocal count
        if match["bad"] is None:
            return match[0]
        count += 1
        return REPLACEMENT

    return _ESCAPES.sub(replace, text), count


def is_storable_text(text: str) -> bool:
    """Whether a text can be stored as it is; an identity that cannot must not be changed."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
