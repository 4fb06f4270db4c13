"""`cht-sync migrate check`: old and new, document by document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from waiting import eventually

from migrate.country import SHAPES, Country

IDS = [f"{number:04x}" for number in range(30)]


def checked(country: Country, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what is said of medic's table, without kinds of which there is none."""
    result = country.run("check", "--json", *words)
    found = json.loads(result.output)
    table = next(one for one in found["tables"] if country.medic.database in one["databases"])
    assert found["same"] == (result.exit_code == 0)
    return result.exit_code, {
        "counts": {
            kind: count for kind, count in table["counts"].items() if count and kind != "no_documents"
        },
        "examples": {kind: ids for kind, ids in table["examples"].items() if ids},
    }


@pytest.fixture(params=SHAPES)
def moved(request: pytest.FixtureRequest, country: Country) -> Country:
    """A country that was moved from an earlier program."""
    country.medic.put(*IDS)
    country.was_read_by(request.param)
    assert country.run("run").exit_code == 0
    return country


def test_all_the_same_is_nothing_to_be_told(moved: Country) -> None:
    assert checked(moved) == (0, {"counts": {"same": 30}, "examples": {}})


def test_what_was_written_and_deleted_since_is_no_fault(moved: Country) -> None:
    moved.medic.put(IDS[0], "new")
    moved.medic.delete(IDS[1])
    with moved.medic.pipeline():
        eventually(lambda: moved.medic.rows() == moved.medic.winners())
    assert checked(moved) == (
        0,
        {
            "counts": {"same": 28, "moved_on": 1, "deleted": 1, "here_alone": 1},
            "examples": {"moved_on": [IDS[0]], "deleted": [IDS[1]]},
        },
    )


def test_a_document_that_is_missing_is_a_fault(moved: Country) -> None:
    moved.medic.forget(IDS[3])
    code, found = checked(moved)
    assert (code, found["examples"]) == (3, {"missing": [IDS[3]]})


def test_another_content_of_the_same_revision_is_a_fault(moved: Country) -> None:
    moved.medic.damage(
        "update {} set doc = jsonb_set(doc, array['n'], to_jsonb('edited'::text)) where _id = %s", IDS[4]
    )
    code, found = checked(moved)
    assert (code, found["examples"]) == (3, {"changed": [IDS[4]]})


def test_before_a_run_everything_is_missing(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    code, found = checked(country)
    assert (code, found["counts"]) == (3, {"missing": 30})


def test_what_the_pipeline_has_still_to_bring_is_not_missing(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    country.medic.put(IDS[0])
    assert country.run("run").exit_code == 0
    code, found = checked(country)
    assert (code, found["examples"]) == (0, {"moved_on": [IDS[0]]})


def test_the_report_names_each_kind_with_some_ids(moved: Country) -> None:
    moved.medic.forget(*IDS[:12])
    result = moved.run("check")
    assert result.exit_code == 3
    assert "12 missing here" in result.output
    assert ", ".join(IDS[:10]) + " and 2 more" in result.output
    assert "cht-sync resync" in result.output
