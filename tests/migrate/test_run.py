"""`cht-sync migrate run`: what the earlier program has stored, completed to what CouchDB holds."""

from __future__ import annotations

import pytest
from postgres_fixture import on_every_server

from migrate.country import SHAPES, Country

pytest_generate_tests = on_every_server
IDS = [f"{number:04x}" for number in range(300)]


def fill(country: Country) -> None:
    """Documents, edits and deletions in all databases; some ids are in two of them."""
    for world in country.worlds:
        own = [f"{world.database[-9:]}-{one}" for one in IDS]
        world.put(*own, "_design/medic", type="person")
        world.put(*own[:50])
        world.delete(*own[40:60])


@pytest.fixture(params=SHAPES)
def moved(request: pytest.FixtureRequest, country: Country) -> Country:
    """A country that an earlier program has read."""
    fill(country)
    country.was_read_by(request.param)
    return country


def test_rows_are_what_couchdb_holds_and_old_tables_stay(moved: Country) -> None:
    before = moved.old_state()
    result = moved.run("run")
    assert result.exit_code == 0
    assert moved.is_complete()
    assert moved.old_state() == before
    for world in moved.worlds:
        assert world.verify(wait=0).finding.same


def test_a_second_run_changes_nothing(moved: Country) -> None:
    assert moved.run("run").exit_code == 0
    before = moved.versions()
    result = moved.run("run")
    assert result.exit_code == 0
    assert result.output.count("was moved already; nothing is changed") == 3
    assert moved.versions() == before


def test_the_plan_changes_nothing(moved: Country) -> None:
    before = moved.old_state()
    result = moved.run("plan")
    assert result.exit_code == 0
    assert moved.old_state() == before
    for world in moved.worlds:
        assert world.rows() == {}
        assert world.database in result.output
    assert moved.query("select count(*) from v1.couchdb_progress") == [(0,)]


def test_check_finds_old_and_new_the_same(moved: Country) -> None:
    moved.run("run")
    result = moved.run("check")
    assert result.exit_code == 0
