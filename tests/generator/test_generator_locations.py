"""Where the generator's reports are written."""

from __future__ import annotations

import pytest

from cht_sync.generator import GeneratorOptions, Kind, plan
from cht_sync.generator.hierarchy import DISTRICT
from cht_sync.generator.origin import Document

KEYS = ["latitude", "longitude", "altitude", "accuracy", "altitudeAccuracy", "heading", "speed"]


@pytest.fixture(scope="module")
def reports() -> list[Document]:
    """Those of a district and of a part of the next."""
    changes = plan(GeneratorOptions(docs=DISTRICT + 800, updates=0, deletes=0))
    return [
        change.document
        for change in changes
        if change.kind is Kind.CREATE and change.document["type"] == "data_record"
    ]


def answers(reports: list[Document], key: str) -> list[Document]:
    return [report for report in reports if key in report.get("geolocation", {})]


def test_most_reports_have_a_position_some_an_error_and_some_nothing(reports: list[Document]) -> None:
    placed, refused = answers(reports, "latitude"), answers(reports, "code")
    without = [report for report in reports if "geolocation" not in report]
    assert len(placed) + len(refused) + len(without) == len(reports)
    assert len(placed) > 0.7 * len(reports)
    assert min(len(refused), len(without)) > 0.02 * len(reports)
    assert all(list(report["geolocation"]) == KEYS for report in placed)
    assert all(list(report["geolocation"]) == ["code", "message"] for report in refused)


def test_what_the_phone_answered_is_also_in_the_log(reports: list[Document]) -> None:
    for report in reports:
        entry = {"timestamp": report["reported_date"], "recording": report.get("geolocation")}
        assert report["geolocation_log"] == ([entry] if "geolocation" in report else [])


def test_reports_of_an_area_lie_close_together_and_those_of_others_elsewhere(reports: list[Document]) -> None:
    areas: dict[str, list[tuple[float, float]]] = {}
    for report in answers(reports, "latitude"):
        where = report["geolocation"]
        of_area = areas.setdefault(report["contact"]["parent"]["_id"], [])
        of_area.append((where["latitude"], where["longitude"]))
    assert len(areas) > 10
    middles = [
        [sum(degrees) / len(found) for degrees in zip(*found, strict=True)] for found in areas.values()
    ]
    for found, (latitude, longitude) in zip(areas.values(), middles, strict=True):
        assert all(max(abs(north - latitude), abs(east - longitude)) < 0.07 for north, east in found)
    for number, (latitude, longitude) in enumerate(middles):
        others = middles[:number] + middles[number + 1 :]
        assert all(max(abs(north - latitude), abs(east - longitude)) > 0.05 for north, east in others)


def test_positions_are_degrees_and_accuracy_is_metres(reports: list[Document]) -> None:
    for report in answers(reports, "latitude"):
        where = report["geolocation"]
        assert -5 < where["latitude"] < 5
        assert -7 < where["longitude"] < 5
        assert 4 <= where["accuracy"] <= 60
