"""What a successful read or write is answered with."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from cht_sync.ingest.errors import ApiError
from cht_sync.ingest.media_types import Shape
from cht_sync.ingest.messages import Response
from cht_sync.ingest.prefer import MERGE, Preferences
from cht_sync.ingest.query_string.parameters import Query
from cht_sync.ingest.query_string.window import Window, not_satisfiable
from cht_sync.ingest.reading import Found
from cht_sync.ingest.schema_cache import Table
from cht_sync.ingest.writing import Written

Headers = Sequence[tuple[str, str]]


def of_written(
    table: Table, query: Query, prefer: Preferences, shape: Shape, written: Written, profile: Headers
) -> Response:
    """201, or 200 for an upsert that found every row already there."""
    headers = [("Content-Range", f"*/{written.rows if prefer.exact else '*'}")]
    if written.key is not None:
        headers.append(("Location", _location(table, written.key)))
    # Without a key there are no duplicates to resolve.
    resolving = bool(table.primary_key) or query.on_conflict is not None
    headers.extend(_applied(prefer.applied(resolving=resolving)))
    shown = written.body is not None
    return Response(
        201 if prefer.resolution != MERGE or written.any_new else 200,
        (written.body or "").encode(),
        content_type=shape.content_type if shown else None,
        headers=(*headers, *(profile if shown else ())),
    )


def of_found(
    table: Table,
    query: Query,
    prefer: Preferences,
    shape: Shape,
    window: Window,
    found: Found,
    profile: Headers,
) -> Response:
    """200, 206 where it is known that there are more rows, or 416 beyond the last one."""
    first, total = window.first, found.total
    rows = f"{first}-{first + found.rows - 1}" if found.rows and total != 0 else "*"
    canonical = f"?{query.canonical}" if query.canonical else ""
    headers = [
        ("Content-Range", f"{rows}/{'*' if total is None else total}"),
        ("Content-Location", f"/{table.name}{canonical}"),
        *_applied(prefer.applied(reading=True)),
        *profile,
    ]
    status, body = 200, found.body.encode()
    if total is not None and first > total:
        beyond: ApiError = not_satisfiable(
            f"An offset of {first} was requested, but there are only {total} rows."
        )
        status, body = beyond.status, beyond.body()
    elif total is not None and found.rows < total:
        status = 206
    return Response(status, body, content_type=shape.content_type, headers=tuple(headers))


def options(methods: str) -> Response:
    return Response(
        200, content_type=None, headers=(("Access-Control-Allow-Origin", "*"), ("Allow", methods))
    )


def _location(table: Table, key: list[str | None]) -> str:
    pairs = zip(table.primary_key, key, strict=True)
    parameters = (
        f"{quote(name, safe='')}={'is.null' if value is None else 'eq.' + quote(value, safe='')}"
        for name, value in pairs
    )
    return f"/{table.name}?{'&'.join(parameters)}"


def _applied(preferences: str) -> Headers:
    return [("Preference-Applied", preferences)] if preferences else []
