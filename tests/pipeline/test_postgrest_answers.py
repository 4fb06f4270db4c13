"""What an answer means: against everything that PostgREST 14 was recorded to say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cht_sync.errors import (
    DeliveryError,
    DestinationMisconfigured,
    DestinationUnavailable,
    DocumentRefused,
    InternalFailure,
    StatementTimeout,
    Superseded,
)
from cht_sync.pipeline.postgrest.answers import failure

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "contracts" / "postgrest"
MERGE = "merge-duplicates"


def meaning(status: int, code: str | None) -> type[DeliveryError]:
    """The rules of the design, written down once more, by code and only then by status."""
    if status in (401, 403):
        return DestinationMisconfigured
    if code is None:
        return {413: DocumentRefused, 404: DestinationMisconfigured}.get(status, DestinationUnavailable)
    if code in ("57014", "XX000"):
        return StatementTimeout if code == "57014" else InternalFailure
    if code.startswith("22") or code in ("23502", "23514", "54000", "54001", "PGRST102"):
        return DocumentRefused
    if code.startswith(("PGRST1", "PGRST2", "PGRST3", "42", "PT")) or code == "3F000":
        return DestinationMisconfigured
    return DestinationUnavailable


def refusals() -> Iterator[Any]:
    for path in sorted(RECORDINGS.glob("[0-9]*.json")):
        exchange = json.loads(path.read_text(encoding="utf-8"))
        response = exchange.get("response") or {}
        if (response.get("status") or 0) >= 400 and isinstance(response.get("body"), str):
            yield pytest.param(response, id=path.stem)


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings of PostgREST are not here")
@pytest.mark.parametrize("response", list(refusals()))
def test_a_recorded_refusal_means_what_the_design_says(response: dict[str, Any]) -> None:
    try:
        body = json.loads(response["body"])
    except ValueError:
        body = None
    code = body.get("code") if isinstance(body, dict) else None
    error = failure(response["status"], response["headers"], response["body"].encode(), MERGE)
    assert type(error) is meaning(response["status"], code)
    assert error.code == (code or f"HTTP {response['status']}")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "22P05", DocumentRefused),
        (400, "22003", DocumentRefused),
        (400, "23502", DocumentRefused),
        (500, "54000", DocumentRefused),
        (500, "54001", DocumentRefused),
        (400, "PGRST102", DocumentRefused),
        (413, "54000", DocumentRefused),
        (400, "PGRST204", DestinationMisconfigured),
        (404, "PGRST205", DestinationMisconfigured),
        (404, "42P01", DestinationMisconfigured),
        (403, "42501", DestinationMisconfigured),
        (401, "22023", DestinationMisconfigured),
        (401, "PGRST303", DestinationMisconfigured),
        (400, "PT400", DestinationMisconfigured),
        (409, "PT409", Superseded),
        (500, "57014", StatementTimeout),
        (503, "57P01", DestinationUnavailable),
        (503, "PGRST001", DestinationUnavailable),
        (503, "PGRST002", DestinationUnavailable),
        (504, "PGRST003", DestinationUnavailable),
        (503, "53300", DestinationUnavailable),
        (500, "40001", DestinationUnavailable),
        (500, "55P03", DestinationUnavailable),
        (405, "25006", DestinationUnavailable),
        (500, "58030", DestinationUnavailable),
        (500, "XX000", InternalFailure),
    ],
)
def test_the_code_decides(status: int, code: str, kind: type[DeliveryError]) -> None:
    body = json.dumps({"code": code, "message": "m", "details": "d", "hint": "h"}).encode()
    error = failure(status, {}, body, MERGE)
    assert type(error) is kind
    assert (error.code, error.hint) == (code, "h")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (413, DocumentRefused),
        (401, DestinationMisconfigured),
        (403, DestinationMisconfigured),
        (404, DestinationMisconfigured),
        (405, DestinationMisconfigured),
        (406, DestinationMisconfigured),
        (302, DestinationUnavailable),
        (400, DestinationUnavailable),
        (429, DestinationUnavailable),
        (500, DestinationUnavailable),
        (502, DestinationUnavailable),
        (204, DestinationUnavailable),
    ],
)
def test_without_a_code_the_status_decides(status: int, kind: type[DeliveryError]) -> None:
    error = failure(status, {}, b"<html>what a proxy says</html>", MERGE)
    assert type(error) is kind


@pytest.mark.parametrize("status", [200, 201])
def test_only_an_answer_that_names_the_preference_is_a_success(status: int) -> None:
    applied = {"Preference-Applied": f"resolution={MERGE}, return=minimal"}
    assert failure(status, applied, b"", MERGE) is None
    assert type(failure(status, {}, b"<html>Sign in</html>", MERGE)) is DestinationUnavailable
    other = {"Preference-Applied": "resolution=ignore-duplicates"}
    assert type(failure(status, other, b"", MERGE)) is DestinationUnavailable


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("42P01", "cht-sync init-db"),
        ("PGRST205", "cht-sync init-db"),
        ("42501", "cht-sync init-db"),
        ("PGRST301", "PGRST_JWT_SECRET"),
        ("PGRST303", "clocks"),
        ("PGRST002", "cht-sync logs postgrest"),
    ],
)
def test_a_refusal_without_a_hint_of_its_own_names_what_to_do(code: str, remedy: str) -> None:
    body = json.dumps({"code": code, "message": "m", "details": None, "hint": None}).encode()
    error = failure(400, {}, body, "merge-duplicates")
    assert error is not None
    assert error.hint is not None
    assert remedy in error.hint
