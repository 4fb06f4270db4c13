"""Accept, Content-Type and Prefer, as PostgREST 14 reads them."""

from __future__ import annotations

import pytest

from cht_sync.ingest import media_types
from cht_sync.ingest.errors import ApiError
from cht_sync.ingest.media_types import ARRAY_STRIPPED, JSON, OBJECT, OBJECT_STRIPPED
from cht_sync.ingest.prefer import Preferences


@pytest.mark.parametrize(
    ("header", "media_type"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("text/html, application/json;q=0.5", JSON),
        ("application/json;q=0.1, application/vnd.pgrst.object+json", OBJECT),
        ("*/*, application/vnd.pgrst.object", OBJECT),
        ("Application/Vnd.Pgrst.Object+json; nulls=stripped", OBJECT_STRIPPED),
        ("application/vnd.pgrst.array+json;nulls=stripped", ARRAY_STRIPPED),
        ("application/vnd.pgrst.array+json", JSON),
        ("application/json; charset=utf-8", JSON),
    ],
)
def test_the_preferred_type_that_can_be_had_is_chosen(header: str | None, media_type: str) -> None:
    assert media_types.shape(header).media_type == media_type


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("application/xml", "application/xml"),
        ("text/html;q=0.5, image/png", "image/png, text/html"),
        ("garbage", "garbage"),
        ("application/openapi+json", "application/openapi+json"),
        ("application/vnd.pgrst.plan", 'application/vnd.pgrst.plan+text; for="application/json"'),
        (
            'application/vnd.pgrst.plan+json; for="text/xml"; options=buffers|analyze',
            'application/vnd.pgrst.plan+json; for="text/xml"; options=analyze|buffers',
        ),
    ],
)
def test_other_types_are_refused_by_name(header: str, told: str) -> None:
    with pytest.raises(ApiError) as caught:
        media_types.shape(header)
    assert (caught.value.status, caught.value.code) == (406, "PGRST107")
    assert caught.value.message == f"None of these media types are available: {told}"


@pytest.mark.parametrize(
    ("header", "applied"),
    [
        ("", ""),
        ("count=exact,return=minimal", "return=minimal, count=exact"),
        ("  count=planned ,count=exact", "count=planned"),
        ("tx=rollback, max-affected=1, nothing=known", ""),
        ("timezone=Europe/Berlin, handling=strict", "handling=strict, timezone=Europe/Berlin"),
        ("timezone=Nowhere", ""),
        ("resolution=merge-duplicates, missing=null", "resolution=merge-duplicates, missing=null"),
    ],
)
def test_what_is_applied_is_told_in_a_fixed_order(header: str, applied: str) -> None:
    assert Preferences.parse(header, {"Europe/Berlin"}).applied() == applied


def test_a_read_applies_only_what_is_of_reads() -> None:
    prefer = Preferences.parse("resolution=merge-duplicates, return=minimal, missing=default, count=exact")
    assert prefer.applied(reading=True) == "count=exact"


@pytest.mark.parametrize("unknown", ["nothing=known", "timezone=Nowhere", "return=everything"])
def test_strict_handling_refuses_what_is_unknown(unknown: str) -> None:
    with pytest.raises(ApiError) as caught:
        Preferences.parse(f"handling=strict, max-affected=1, tx=commit, {unknown}").check()
    assert caught.value.code == "PGRST122"
    assert caught.value.details == f"Invalid preferences: {unknown}"
