"""What a browser is told about requests from other sites: everything is allowed, as in PostgREST.

The policy is one for all paths, so it also names methods that a table then refuses.
"""

from __future__ import annotations

from collections.abc import Mapping

from cht_sync.ingest.messages import Response

METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "HEAD")
ALWAYS_ALLOWED = ("Accept", "Accept-Language", "Content-Language")
EXPOSED = (
    "Content-Encoding",
    "Content-Location",
    "Content-Range",
    "Content-Type",
    "Date",
    "Location",
    "Server",
    "Transfer-Encoding",
    "Range-Unit",
)
ANY_ORIGIN = ("Access-Control-Allow-Origin", "*")
MAX_AGE = 24 * 60 * 60
"""Seconds that a browser may remember the answer."""


def preflight(method: str, headers: Mapping[str, str]) -> Response | None:
    """Answer a browser that asks whether it may; None for any other request."""
    if method != "OPTIONS" or "origin" not in headers:
        return None
    if headers.get("access-control-request-method") not in METHODS:
        return None
    asked = headers.get("access-control-request-headers", "")
    allowed = ["Authorization", *(name.strip() for name in asked.split(",") if name.strip())]
    return Response(
        200,
        content_type=None,
        headers=(
            ANY_ORIGIN,
            ("Access-Control-Allow-Methods", ", ".join(METHODS)),
            ("Access-Control-Allow-Headers", ", ".join([*allowed, *ALWAYS_ALLOWED])),
            ("Access-Control-Max-Age", str(MAX_AGE)),
        ),
    )


def exposing(method: str, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Headers to add to the answer of a request that a browser sent for a page of another site."""
    if "origin" not in headers or method == "OPTIONS":
        return ()
    return (ANY_ORIGIN, ("Access-Control-Expose-Headers", ", ".join(EXPOSED)))
