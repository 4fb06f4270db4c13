"""Bytes from outside made into text, by the option `charset` of codecs.

As Logstash's Util::Charset: what is no UTF-8 though it should be is kept readable, with escapes for the
bytes; from any other character set, what cannot be converted becomes U+FFFD.
"""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Callable

from cht_sync.pipeline.ruby_text import SHORT_ESCAPES

log = logging.getLogger(__name__)

Convert = Callable[[bytes], str]

_RUBY_NAMES = {
    "ascii-8bit": "ascii",
    "binary": "ascii",
    "locale": "utf-8",
    "external": "utf-8",
    "filesystem": "utf-8",
    "utf8-mac": "utf-8",
    "utf-8-mac": "utf-8",
    "utf-8-hfs": "utf-8",
}
"""Names that Ruby knows and Python does not, or not with this meaning."""

_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f\x85\udc80-\udcff]|#(?=[{$@])')


def check_charset(name: str) -> None:
    """Refuse what is no name of a character set. Raises ValueError."""
    _codec(name)


def converter(name: str) -> Convert:
    """Return the function that makes text of bytes in the character set."""
    codec = _codec(name)
    if codec != "utf-8":
        return lambda data: data.decode(codec, errors="replace")

    def convert(data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            log.warning("text that is no %s, though charset says so; shown with escapes", name)
            return _inspected(data)

    return convert


def _codec(name: str) -> str:
    try:
        found = codecs.lookup(_RUBY_NAMES.get(name.lower(), name))
        b"".decode(found.name)  # refuses codecs that make no text, such as base64
    except LookupError:
        raise ValueError(f"{name!r} is no character set; for example UTF-8 or CP1252") from None
    return found.name


def _inspected(data: bytes) -> str:
    """What Ruby's String#inspect shows between the quotes."""
    return _ESCAPED.sub(_escape, data.decode(errors="surrogateescape"))


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in '"\\#':
        return f"\\{character}"
    code = ord(character)
    if code >= 0xDC80:
        return f"\\x{code - 0xDC00:02X}"
    if character in SHORT_ESCAPES:
        return f"\\{SHORT_ESCAPES[character]}"
    return "\\x7F" if character == "\x7f" else f"\\u{code:04X}"
