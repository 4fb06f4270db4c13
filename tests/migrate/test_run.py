"""`cht-sync migrate run`: what the earlier program has stored, completed to what CouchDB holds."""

from __future__ import annotations

import pytest

from migrate.country import Country

IDS = [f"{number:04x}" for number in range(300)]


def fill(country: Country) -> None:
    """Documents, edits and deletions in all databases; some ids are in two of them."""
    for world in country.worlds:
        own = [f"{world.database[-9:]}-{one}" for one in IDS]
        world.put(*own, "_design/medic", type="person")
        world.put(*own[:50])
        world.delete(*own[40:60])


def is_complete(country: Country) -> bool:
    return all(world.rows() == world.winners() for world in country.worlds)


@pytest.fixture(params=["couch2pg", "cht_sync_2", "cht_sync_2 without source", "of_2023"])
def moved(request: pytest.FixtureRequest, country: Country) -> Country:
    """A country that an earlier program has read."""
    fill(country)
    match request.param:
        case "couch2pg":
            country.couch2pg()
        case "cht_sync_2":
            country.cht_sync_2()
        case "cht_sync_2 without source":
            country.cht_sync_2(with_source=False)
        case _:
            country.of_2023()
    return country


def test_rows_are_what_couchdb_holds_and_old_tables_stay(moved: Country) -> None:
    before = moved.old_state()
    result = moved.run("run")
    print(result.output)
    assert result.exit_code == 0
    assert is_complete(moved)
    assert moved.old_state() == before
    for world in moved.worlds:
        assert world.verify(wait=0).finding.same


def test_a_second_run_changes_nothing(moved: Country) -> None:
    assert moved.run("run").exit_code == 0
    everything = "select _id, xmin::text, saved_timestamp from {} order by _id"
    before = [world.query(everything) for world in moved.worlds]
    progress = moved.query("select * from v1.couchdb_progress order by source")
    result = moved.run("run")
    assert result.exit_code == 0
    assert result.output.count("was moved already; nothing is changed") == 3
    assert [world.query(everything) for world in moved.worlds] == before
    assert moved.query("select * from v1.couchdb_progress order by source") == progress


def test_the_plan_changes_nothing(moved: Country) -> None:
    before = moved.old_state()
    result = moved.run("plan")
    print(result.output)
    assert result.exit_code == 0
    assert moved.old_state() == before
    for world in moved.worlds:
        assert world.rows() == {}
        assert world.database in result.output
    assert moved.query("select count(*) from v1.couchdb_progress") == [(0,)]


def test_check_finds_old_and_new_the_same(moved: Country) -> None:
    moved.run("run")
    result = moved.run("check")
    print(result.output)
    assert result.exit_code == 0
