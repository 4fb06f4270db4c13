"""JSON text that PostgreSQL's jsonb can hold.

jsonb refuses `\\u0000` (22P05), lone surrogates (22P02), numbers beyond what numeric holds (22003) and
bytes that are no UTF-8 (22021). CouchDB and its relatives let some of each through. Only the offending
place is replaced, by U+FFFD. A text that merely looks like an escape, a backslash followed by u0000 as
characters, is left alone, and so is every number that numeric can hold, to its last digit.
"""

from __future__ import annotations

import codecs
import re

REPLACEMENT = b"\\ufffd"
REFUSALS = frozenset({"22003", "22021", "22P02", "22P05", "PGRST102"})
"""The codes with which a document is refused that `storable` can help. PGRST102 is what PostgREST says
of bytes that are no UTF-8, and without `?columns=` of lone surrogates."""

MOST_DIGITS = 131_072
"""Of a number, before its decimal point (PostgreSQL's documentation, "Numeric Types")."""
MOST_DECIMALS = 16_383
"""Of a number, after its decimal point; trailing zeros count."""
GREATEST_EXPONENT = 1_073_741_822
"""As written; numeric's reader goes no further, not even for zero (seen with PostgreSQL 15)."""

CHUNK = 1 << 20
"""Bytes that are decoded at once: the text of a large document may take four times its bytes."""
REPLACEMENT_CHARACTER = "\ufffd".encode()

_BEGINS_LIKE_A_BAD_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_ESCAPES = re.compile(
    rb"""
      \\\\                                                      # an escaped backslash: no escape begins here
    | \\u[dD][89abAB][0-9a-fA-F]{2} \\u[dD][c-fC-F][0-9a-fA-F]{2}  # a pair, which is one character
    | (?P<bad> \\u0000 | \\u[dD][89a-fA-F][0-9a-fA-F]{2} )
    """,
    re.VERBOSE,
)
_LONG_OR_FAR = re.compile(rb"(?<![0-9.])[0-9.]{6000} | [eE][+-]?0*+[0-9]{5}", re.VERBOSE)
"""Where nothing of a text looks like this, each number has less than 16,000 digits when written out."""
_TOKENS = re.compile(
    rb"""
      " [^"\\]*+ (?: \\. [^"\\]*+ )*+ "
    | -? (?P<whole>[0-9]++) (?: \. (?P<decimals>[0-9]++) )? (?: [eE] (?P<exponent>[+-]?[0-9]++) )?
    """,
    re.VERBOSE | re.DOTALL,
)


def looks_unstorable(text: bytes) -> bool:
    """Whether a JSON text may hold an escape that jsonb refuses; quick, for every document.

    The other kinds are rarer and cost more to look for: PostgreSQL's refusal tells of them.
    """
    return b"\\u" in text and _BEGINS_LIKE_A_BAD_ESCAPE.search(text) is not None


def storable(text: bytes) -> tuple[bytes, int]:
    """Return the JSON text with what jsonb refuses replaced, and the number of replacements.

    Two keys that differ only in what was replaced become one, and jsonb keeps the last.
    """
    text, of_bytes = _replace_bytes(text)
    text, of_escapes = _replace_escapes(text)
    text, of_numbers = _replace_numbers(text)
    return text, of_bytes + of_escapes + of_numbers


def is_storable_text(text: str) -> bool:
    """Whether a text can be stored as it is; an identity that cannot must not be changed."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def as_utf8(text: bytes, errors: str) -> bytes:
    """Return the text with what is no UTF-8 in it handled as `bytes.decode` does with `errors`."""
    if text.isascii():
        return text
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    view = memoryview(text)
    pieces = [decoder.decode(view[at : at + CHUNK]).encode() for at in range(0, len(text), CHUNK)]
    return b"".join([*pieces, decoder.decode(b"", final=True).encode()])


def _replace_bytes(text: bytes) -> tuple[bytes, int]:
    replaced = as_utf8(text, "replace")
    # Each U+FFFD that was there was valid and is there still.
    return replaced, replaced.count(REPLACEMENT_CHARACTER) - text.count(REPLACEMENT_CHARACTER)


def _replace_escapes(text: bytes) -> tuple[bytes, int]:
    if not looks_unstorable(text):
        return text, 0
    count = 0

    def replace(match: re.Match[bytes]) -> bytes:
        nonlocal count
        if match["bad"] is None:
            return match[0]
        count += 1
        return REPLACEMENT

    return _ESCAPES.sub(replace, text), count


def _replace_numbers(text: bytes) -> tuple[bytes, int]:
    if _LONG_OR_FAR.search(text) is None:
        return text, 0
    count = end = 0
    pieces: list[bytes] = []
    for token in _TOKENS.finditer(text):
        whole, decimals, exponent = token.group("whole", "decimals", "exponent")
        if whole is not None and not _is_numeric(whole, decimals or b"", exponent or b"0"):
            pieces += [text[end : token.start()], b'"', REPLACEMENT, b'"']
            end = token.end()
            count += 1
    return b"".join([*pieces, text[end:]]) if count else text, count


def _is_numeric(whole: bytes, decimals: bytes, exponent_text: bytes) -> bool:
    """Whether PostgreSQL's numeric holds the number (numeric_in, make_result in its numeric.c)."""
    far = exponent_text.lstrip(b"+-").lstrip(b"0")
    # int() refuses thousands of digits.
    if len(far) > len(str(GREATEST_EXPONENT)) or int(far or b"0") > GREATEST_EXPONENT:
        return False
    exponent = -int(far or b"0") if exponent_text.startswith(b"-") else int(far or b"0")
    if len(decimals) - exponent > MOST_DECIMALS:
        return False
    digits = whole + decimals
    leading_zeros = len(digits) - len(digits.lstrip(b"0"))
    if leading_zeros == len(digits):
        return True
    return len(whole) - leading_zeros + exponent <= MOST_DIGITS
