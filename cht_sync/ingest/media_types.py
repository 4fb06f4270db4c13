"""What a body is and what an answer may be: Content-Type and Accept, as PostgREST reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cht_sync.ingest.errors import ApiError

JSON = "application/json"
ARRAY_STRIPPED = "application/vnd.pgrst.array+json;nulls=stripped"
OBJECT = "application/vnd.pgrst.object+json"
OBJECT_STRIPPED = f"{OBJECT};nulls=stripped"
GEOJSON = "application/geo+json"
OPENAPI = "application/openapi+json"
CSV = "text/csv"
FORM = "application/x-www-form-urlencoded"
ANY = "*/*"

NAMED = (JSON, GEOJSON, CSV, "text/plain", "text/xml", OPENAPI, FORM, "application/octet-stream", ANY)
"""Types that are called by their plain name, whatever their parameters."""
PLAN_OPTIONS = ("analyze", "verbose", "settings", "buffers", "wal")
WITH_CHARSET = (JSON, ARRAY_STRIPPED, OBJECT, OBJECT_STRIPPED, GEOJSON, OPENAPI)

_TYPE = re.compile(r"([\w.*]+)/([\w.*+-]+)")
_PARAMETER = re.compile(r'\s*;\s*([\w-]+)\s*=\s*(?:"([^"]*)"|([\w|-]+))')
_QUALITY = re.compile(r"[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True)
class Shape:
    """How rows are shown."""

    media_type: str = JSON
    single: bool = False
    """One object instead of an array."""
    stripped: bool = False
    """Without members that are null."""

    @property
    def content_type(self) -> str:
        return content_type(self.media_type)


SHAPES = {
    ANY: Shape(),
    JSON: Shape(),
    GEOJSON: Shape(GEOJSON),
    ARRAY_STRIPPED: Shape(ARRAY_STRIPPED, stripped=True),
    OBJECT: Shape(OBJECT, single=True),
    OBJECT_STRIPPED: Shape(OBJECT_STRIPPED, single=True, stripped=True),
}


def canonical(text: str) -> str:
    """Return a media type as PostgREST calls it; what it does not know, as it came."""
    found = _TYPE.match(text)
    if found is None:
        return text
    parameters: dict[str, str] = {}
    at = found.end()
    while (one := _PARAMETER.match(text, at)) is not None:
        parameters[one[1].lower()] = one[3] if one[2] is None else one[2]
        at = one.end()
    plain = found[0].lower()
    stripped = parameters.get("nulls") == "stripped"
    match plain:
        case "application/vnd.pgrst.object+json" | "application/vnd.pgrst.object":
            return OBJECT_STRIPPED if stripped else OBJECT
        case "application/vnd.pgrst.array+json" | "application/vnd.pgrst.array":
            return ARRAY_STRIPPED if stripped else JSON
        case "application/vnd.pgrst.plan" | "application/vnd.pgrst.plan+text":
            return _plan("text", parameters)
        case "application/vnd.pgrst.plan+json":
            return _plan("json", parameters)
    return plain if plain in NAMED else text


def accepted(header: str | None) -> list[str]:
    """The types of an Accept header (None: absent), the preferred one first."""
    if header is None:
        return [ANY]
    offers = []
    for offer in header.split(","):
        media_type, _, quality = re.sub(r"\s", "", offer).partition(";q=")
        number = _QUALITY.match(quality)
        weight = float(number[0]) if number else 1.0
        offers.append((-weight, media_type.count("*") - media_type.count(";"), media_type))
    return [canonical(media_type) for *_, media_type in sorted(offers, key=lambda one: one[:2])]


@lru_cache
def shape(header: str | None) -> Shape:
    """The first acceptable way to show rows; raises ApiError 406 PGRST107 where there is none."""
    offers = accepted(header)
    for offer in offers:
        if offer in SHAPES:
            return SHAPES[offer]
        if offer == CSV:
            raise ApiError(
                406, "PGRST107", f"{CSV} is outside the subset of PostgREST that this server speaks"
            )
    raise not_available(offers)


def not_available(offers: Sequence[str]) -> ApiError:
    return ApiError(406, "PGRST107", f"None of these media types are available: {', '.join(offers)}")


def content_type(media_type: str) -> str:
    return f"{media_type}; charset=utf-8" if media_type in WITH_CHARSET else media_type


def _plan(form: str, parameters: dict[str, str]) -> str:
    chosen = parameters.get("options", "").split("|")
    options = "|".join(option for option in PLAN_OPTIONS if option in chosen)
    return (
        f'application/vnd.pgrst.plan+{form}; for="{canonical(parameters.get("for", JSON))}"'
        f"{f'; options={options}' if options else ''}"
    )
