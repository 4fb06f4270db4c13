"""What a JSON body holds, as far as the server must know before PostgreSQL reads it."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

import msgspec

from cht_sync.ingest import media_types
from cht_sync.ingest.errors import ApiError
from cht_sync.ingest.messages import CHUNK, Body

TOKENS = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")([ \t\r\n]*+:)?|[\[\]{}]', re.DOTALL)
"""A string, perhaps as a key (with its colon), or a bracket."""

_Row = dict[str, msgspec.Raw]
_decoder = msgspec.json.Decoder(list[_Row] | _Row | str | int | float | bool | None)


@dataclass(frozen=True)
class Payload:
    """A body, one object or an array of them, and the columns that it writes."""

    body: Body
    columns: tuple[str, ...]
    is_object: bool


def read(body: Body, content_type: str | None, columns: tuple[str, ...] | None) -> Payload:
    """Look at a body as far as must be: not at all where `columns` says what it writes.

    Raises ApiError PGRST102.
    """
    media_type = media_types.JSON if content_type is None else media_types.canonical(content_type)
    match media_type:
        case media_types.JSON if columns is not None:
            return Payload(body, columns, body.is_object)
        case media_types.JSON:
            return _parsed(body)
        case media_types.FORM:
            return _form(body)
        case media_types.CSV:
            raise ApiError(
                400, "PGRST102", f"{media_type} is outside the subset of PostgREST that this server speaks"
            )
    raise ApiError(400, "PGRST102", f"Content-Type not acceptable: {media_type}")


def _parsed(body: Body) -> Payload:
    """Read the keys, which must be the same in every object.

    Values are checked but not decoded.
    """
    try:
        text = body.read()
        if b"\0" in text:
            raise _not_json()
        _check_utf8(text)
        rows = _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _keys_differ() from error
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise _not_json() from error
    except RecursionError:
        return _deeply_nested(body)
    if isinstance(rows, dict):
        return Payload(body, tuple(sorted(rows)), is_object=True)
    if isinstance(rows, list):
        return Payload(body, _common_keys(rows), is_object=False)
    # A bare scalar writes nothing and is no error, as in PostgREST.
    return Payload(_made_of([]), (), is_object=False)


def _check_utf8(text: bytes) -> None:
    """Raises UnicodeDecodeError; in pieces, for the text itself is not wanted."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(text)
    for start in range(0, len(text), CHUNK):
        decoder.decode(view[start : start + CHUNK])
    decoder.decode(b"", final=True)


def _form(body: Body) -> Payload:
    row = dict(parse_qsl(body.read().decode(errors="replace"), keep_blank_values=True))
    return Payload(_made_of(row), tuple(sorted(row)), is_object=True)


def _made_of(value: object) -> Body:
    text = json.dumps(value).encode()
    return Body(io.BytesIO(text), len(text))


def _common_keys(rows: Iterable[_Row]) -> tuple[str, ...]:
    remaining = iter(rows)
    first = next(remaining, None)
    if first is None:
        return ()
    keys = first.keys()
    if any(row.keys() != keys for row in remaining):
        raise _keys_differ()
    return tuple(sorted(keys))


def _deeply_nested(body: Body) -> Payload:
    """Read the keys of a body that nests deeper than a recursive parser goes, in constant depth.

    PostgreSQL judges the rest: it stores several thousand levels, and says 54001 beyond.
    """
    is_object = body.is_object
    level_of_keys = 1 if is_object else 2
    level = 0
    rows: list[dict[str, None]] = []
    for token in TOKENS.finditer(body.read()):
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
    return Payload(body, tuple(sorted(rows[0])), is_object=is_object)


def _not_json() -> ApiError:
    return ApiError(400, "PGRST102", "Empty or invalid json")


def _keys_differ() -> ApiError:
    return ApiError(400, "PGRST102", "All object keys must match")
