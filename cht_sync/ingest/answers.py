"""What a successful read or write is answered with."""

from __future__ import annotations

import re
from urllib.parse import quote

from cht_sync.ingest.errors import ApiError
from cht_sync.ingest.messages import JSON, Request, Response
from cht_sync.ingest.prefer import MERGE, Preferences
from cht_sync.ingest.query import Query
from cht_sync.ingest.reading import Found
from cht_sync.ingest.schema_cache import Table
from cht_sync.ingest.writing import Written

SINGLE = "application/vnd.pgrst.object+json"
JSON_TYPES = ("*/*", "application/*", "application/json")


def wants_single(request: Request) -> bool:
    """Whether the first acceptable media type is a single object; ApiError PGRST107 where none is."""
    accepted = request.headers.get("accept", "*/*")
    for offer in accepted.split(","):
        media_type = re.sub(r"\s+", "", offer).lower()
        if media_type == SINGLE:
            return True
        if media_type.partition(";")[0] in JSON_TYPES:
            return False
    raise ApiError(406, "PGRST107", f"None of these media types are available: {accepted}")


def of_written(table: Table, prefer: Preferences, written: Written, *, single: bool) -> Response:
    """201, or 200 for an upsert that found every row already there."""
    headers = [("Content-Range", f"*/{written.rows if prefer.count else '*'}")]
    if written.key is not None:
        headers.append(("Location", _location(table, written.key)))
    headers += _applied(prefer.applied())
    return Response(
        201 if prefer.resolution != MERGE or written.any_new else 200,
        (written.body or "").encode(),
        content_type=None if written.body is None else _content_type(single=single),
        headers=tuple(headers),
    )


def of_found(
    request: Request, table: Table, query: Query, prefer: Preferences, found: Found, *, single: bool
) -> Response:
    """200, or 206 where it is known that there are more rows; raises ApiError 416 PGRST103."""
    total = found.total
    if total is not None and query.offset > total:
        raise ApiError(
            416,
            "PGRST103",
            "Requested range not satisfiable",
            details=f"An offset of {query.offset} was requested, but there are only {total} rows.",
        )
    rows = f"{query.offset}-{query.offset + found.rows - 1}" if found.rows else "*"
    canonical = f"?{query.canonical}" if query.canonical else ""
    headers = [
        ("Content-Range", f"{rows}/{'*' if total is None else total}"),
        ("Content-Location", request.path + canonical),
        *_applied(prefer.applied(reading=True)),
    ]
    if "accept-profile" in request.headers:
        headers.append(("Content-Profile", table.schema))
    return Response(
        206 if total is not None and found.rows < total else 200,
        found.body.encode(),
        content_type=_content_type(single=single),
        headers=tuple(headers),
    )


def _location(table: Table, key: list[str]) -> str:
    pairs = zip(table.primary_key, key, strict=True)
    parameters = "&".join(f"{quote(name, safe='')}=eq.{quote(value, safe='')}" for name, value in pairs)
    return f"/{quote(table.name, safe='')}?{parameters}"


def _applied(preferences: str) -> list[tuple[str, str]]:
    return [("Preference-Applied", preferences)] if preferences else []


def _content_type(*, single: bool) -> str:
    return f"{SINGLE}; charset=utf-8" if single else JSON
