"""What a JSON body holds, as far as the server must know before PostgreSQL reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from cht_sync.ingest.errors import ApiError

WHITESPACE = b" \t\r\n"
TOKENS = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")([ \t\r\n]*+:)?|[\[\]{}]', re.DOTALL)
"""A string, perhaps as a key (with its colon), or a bracket."""

_Row = dict[str, msgspec.Raw]
_decoder = msgspec.json.Decoder(list[_Row] | _Row | str | int | float | bool | None)


@dataclass(frozen=True)
class Payload:
    """A body as it came, one object or an array of them, and the columns that it writes."""

    body: bytes
    columns: tuple[str, ...]
    is_object: bool


def unparsed(body: bytes, columns: tuple[str, ...]) -> Payload:
    """The body goes to PostgreSQL unread: only its first character is looked at."""
    return Payload(body, columns, is_object=body[:64].lstrip(WHITESPACE).startswith(b"{"))


def parsed(body: bytes) -> Payload:
    """Read the keys, which must be the same in every object, as they come in the first one.

    Values are checked but not decoded. Raises ApiError PGRST102.
    """
    try:
        body.decode()
        rows = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _keys_differ() from error
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise _not_json() from error
    except RecursionError:
        return _deeply_nested(body)
    if isinstance(rows, dict):
        return Payload(body, tuple(rows), is_object=True)
    if isinstance(rows, list):
        return Payload(body, _common_keys(rows), is_object=False)
    # A bare scalar writes nothing and is no error, as in PostgREST.
    return Payload(b"[]", (), is_object=False)


def _common_keys(rows: Iterable[_Row]) -> tuple[str, ...]:
    remaining = iter(rows)
    first = next(remaining, None)
    if first is None:
        return ()
    keys = first.keys()
    if any(row.keys() != keys for row in remaining):
        raise _keys_differ()
    return tuple(keys)


def _deeply_nested(body: bytes) -> Payload:
    """Read the keys of a body that nests deeper than a recursive parser goes, in constant depth.

    PostgreSQL judges the rest: it stores several thousand levels, and says 54001 beyond.
    """
    is_object = body[:64].lstrip(WHITESPACE).startswith(b"{")
    level_of_keys = 1 if is_object else 2
    level = 0
    rows: list[dict[str, None]] = []
    for token in TOKENS.finditer(body):
        text, colon = token.groups()
        if text is None:
            opens = token.group() in b"[{"
            level += 1 if opens else -1
            if opens and level == level_of_keys:
                rows.append({})
        elif colon is not None and level == level_of_keys:
            try:
                rows[-1][msgspec.json.decode(text, type=str)] = None
            except msgspec.DecodeError as error:
                raise _not_json() from error
    if any(row.keys() != rows[0].keys() for row in rows):
        raise _keys_differ()
    return Payload(body, tuple(rows[0]), is_object=is_object)


def _not_json() -> ApiError:
    return ApiError(400, "PGRST102", "Empty or invalid json")


def _keys_differ() -> ApiError:
    return ApiError(400, "PGRST102", "All object keys must match")
