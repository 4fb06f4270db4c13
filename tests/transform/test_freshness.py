"""How fresh the models are is measured, and what is shown is never better than the truth."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from cht_sync.transform.changes import connected
from cht_sync.transform.freshness import Freshness, measure

from .looping import eventually, looping, query, shown, small
from .warehouse import Warehouse

BEGINNING = datetime(1970, 1, 1)


@pytest.fixture
def world(fresh: Warehouse, tmp_path: Path) -> Warehouse:
    return small(fresh, tmp_path)


def utc_now(world: Warehouse) -> datetime:
    """The clock that stamps documents."""
    (found,) = query(world, "select clock_timestamp() at time zone 'UTC'")
    moment: datetime = found[0]
    return moment


def stamp(world: Warehouse, doc_id: str) -> datetime:
    (found,) = query(world, "select saved_timestamp from v1.all_documents where _id = %s", doc_id)
    moment: datetime = found[0]
    return moment


def measured(world: Warehouse, after: datetime, until: datetime) -> Freshness | None:
    with connected(world.options) as connection:
        return measure(connection, "v1", after=after, until=until)


def test_what_is_shown_lies_between_the_moments_before_and_after_the_row_was_seen(world: Warehouse) -> None:
    with looping(world.options):
        world.put("first", {"type": "person"})
        eventually(lambda: world.rows("people", "first") and query(world, "select 1 from dbt.dbt_runs"))
        world.put("ada", {"type": "person"})
        absent = utc_now(world)
        while True:
            asked = utc_now(world)
            if world.rows("people", "ada"):
                break
            absent = asked
        stored = stamp(world, "ada")
        eventually(
            lambda: query(
                world, "select 1 from dbt.dbt_runs where documents_until >= %s and documents > 0", stored
            )
        )
        recorded = utc_now(world)
    reached = shown(world).reached
    assert reached is not None
    assert reached.documents == 1
    assert reached.median == reached.greatest
    assert (absent - stored).total_seconds() <= reached.greatest
    assert reached.greatest <= (recorded - stored).total_seconds()
    assert reached.greatest_of_hour is not None
    assert reached.greatest_of_hour >= reached.greatest


def test_the_greatest_and_the_median_are_those_of_the_documents_in_between(world: Warehouse) -> None:
    for name in ("a", "b", "c", "d", "e"):
        world.put(name, {"type": "person"})
    a, b, c, d = (stamp(world, name) for name in "abcd")
    before = utc_now(world)
    found = measured(world, after=a, until=d)
    after = utc_now(world)
    assert found is not None
    assert (found.documents, found.until) == (3, d)
    assert (before - b).total_seconds() <= found.greatest <= (after - b).total_seconds()
    assert (before - c).total_seconds() <= found.median <= (after - c).total_seconds()


def test_a_run_whose_documents_have_all_changed_since_is_not_measured(world: Warehouse) -> None:
    world.put("a", {"type": "person"})
    moment = stamp(world, "a")
    world.put("a", {"type": "person", "name": "Ada"})
    assert measured(world, after=BEGINNING, until=moment) is None


@pytest.mark.parametrize(
    ("pending", "caught_up", "expected"),
    [(0, "now()", 0.0), (5, "now() - interval '1 hour'", 3600.0), (5, "null", None), (None, "now()", None)],
)
def test_what_the_pipelines_are_behind_is_known_or_said_not_to_be(
    world: Warehouse, pending: int | None, caught_up: str, expected: float | None
) -> None:
    with world.connection, world.connection.cursor() as cursor:
        cursor.execute(
            f"""insert into v1.couchdb_progress
              (source, database, pending, caught_up_at, epoch, batch, updated_at, held_until)
            values ('couch/medic', 'medic', %s, {caught_up}, 1, 1, now(), now())""",
            (pending,),
        )
    world.put("a", {"type": "person"})
    found = measured(world, after=BEGINNING, until=stamp(world, "a"))
    assert found is not None
    assert found.pipeline == (None if expected is None else pytest.approx(expected, abs=60))
