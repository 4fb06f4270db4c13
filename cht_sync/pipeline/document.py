"""JSON in and out of events, and documents that stay the bytes that were received.

Most documents pass through a pipeline untouched. Decoding and encoding them again would cost more
than everything else together, so a `RawDocument` stays bytes until something needs its inside, and
is then spliced into the output unchanged.

Decoding loses nothing: integers of any size, the order of keys, and decimals that a double cannot
hold (they become `Decimal`, as Logstash makes them BigDecimal).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from cht_sync.pipeline.timestamp import Timestamp

_ALWAYS_EXACT_DIGITS = 15
"""A decimal of up to this many digits survives the way through a double (IEEE 754)."""


class _Absent:
    """The type of `ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT: Final = _Absent()
"""No such member: unlike None, which is a value."""


class RawDocument:
    """A JSON object as received.

    `raw` is the text of the object in UTF-8; `known` holds those of its members that somebody has
    decoded already, or `ABSENT` for a member known not to be there. `decode` gives the object.
    """

    __slots__ = ("known", "raw")

    def __init__(self, raw: bytes, known: Mapping[str, Any]) -> None:
        self.raw = raw
        self.known = known

    def decode(self) -> dict[str, Any]:
        """Return the object as a new dict. Raises ValueError where `raw` is not one."""
        value = decode_json(self.raw)
        if not isinstance(value, dict):
            raise ValueError("a raw document must be a JSON object")
        return value

    def __repr__(self) -> str:
        return f"RawDocument({len(self.raw)} bytes)"


def decode_json(text: bytes | str) -> Any:
    """Return the value of a JSON text (RFC 8259; a byte order mark at the front is passed over).

    Raises ValueError for anything that is not JSON, and for nesting too deep to hold.
    """
    if isinstance(text, str):
        text = text.encode(errors="surrogatepass")
    text = text.removeprefix(b"\xef\xbb\xbf")
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError as error:
        if b"\\u" not in text:
            raise
        return _decode_with_lone_surrogates(text, error)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def encode_json(value: Any) -> bytes:
    """Return compact JSON in UTF-8; raw documents are spliced in unchanged."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encode_with_lone_surrogates(value)


def _exact_number(text: str) -> float | Decimal:
    value = float(text)
    if len(text) <= _ALWAYS_EXACT_DIGITS and "e" not in text and "E" not in text:
        return value
    try:
        exact = Decimal(text)
    except InvalidOperation:
        raise ValueError("the exponent of a number is beyond all bounds") from None
    return value if exact == Decimal(repr(value)) else exact


def _encode_hook(value: object) -> object:
    if isinstance(value, RawDocument):
        return msgspec.Raw(value.raw)
    if isinstance(value, Timestamp):
        return str(value)
    raise TypeError(f"an event cannot hold a {type(value).__name__}")


_decoder: Final = msgspec.json.Decoder(float_hook=_exact_number)
_encoder: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=_encode_hook)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _decode_with_lone_surrogates(text: bytes, error: msgspec.DecodeError) -> Any:
    # JSON allows "\ud800" alone, CouchDB stores it, msgspec refuses it.
    try:
        return json.loads(text, parse_float=_exact_number, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise error from None


def _encode_with_lone_surrogates(value: Any) -> bytes:
    if isinstance(value, dict):
        members = (
            _encode_with_lone_surrogates(key) + b":" + encode_json(item) for key, item in value.items()
        )
        return b"{" + b",".join(members) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(encode_json(item) for item in value) + b"]"
    return json.dumps(value).encode()
