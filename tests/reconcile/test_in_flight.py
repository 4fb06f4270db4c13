"""A change on its way is no difference as long as somebody brings it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from waiting import eventually

from cht_sync.errors import ChtSyncError
from cht_sync.reconcile import recheck, verify
from cht_sync.reconcile.couch import Couch
from cht_sync.reconcile.state import Kind, State
from cht_sync.reconcile.table import Table
from reconcile.world import World, found, only

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recheck, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(recheck, "LONGEST_PAUSE", 0.02)


def hold(world: World, *, problem: str | None = None, rereading: bool = False) -> None:
    """As if a living pipeline had stored its position here and had not got further."""
    world.installation.query(
        "update v1.couchdb_progress set held_until = clock_timestamp() + interval '5 minutes', "
        "problem = %s, rereading = %s",
        problem,
        rereading,
    )


def test_what_a_living_pipeline_has_not_brought_yet_is_in_flight_and_not_proven(world: World) -> None:
    world.put("a", "b", "gone")
    world.load()
    hold(world)
    world.put("b", "new")
    world.delete("gone")
    result = world.verify(wait=0)
    assert found(result) == {}
    assert result.finding.in_flight == 3
    assert not result.finding.same


def test_what_nobody_brings_is_missing_or_stale(world: World) -> None:
    world.put("a", "b", "gone")
    world.load()
    world.put("b", "new")
    world.delete("gone")
    assert found(world.verify()) == {"missing": ["new"], "stale": ["b", "gone"]}


def test_a_pipeline_that_says_why_it_does_not_read_brings_nothing(world: World) -> None:
    world.put("a")
    world.load()
    hold(world, problem="another server")
    world.put("b")
    result = world.verify()
    assert found(result) == only(Kind.MISSING, "b")
    assert result.finding.problem == "another server"


def test_a_lost_row_is_missing_also_while_others_are_in_flight(world: World) -> None:
    world.put("lost", "late")
    world.load()
    hold(world)
    world.forget("lost")
    world.put("late")
    result = world.verify(wait=0)
    assert found(result) == only(Kind.MISSING, "lost")
    assert result.finding.in_flight == 1


def test_a_repair_leaves_to_the_pipeline_what_it_brings(world: World) -> None:
    world.put("late", "lost")
    world.load()
    before = world.rows()["late"]
    hold(world)
    world.put("late")
    world.forget("lost")
    result = world.repair(wait=0)
    assert result.finding.in_flight == 1
    assert world.rows()["late"] == before
    assert "lost" in world.rows()


def test_changes_in_flight_are_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.put("a")
    world.load()
    hold(world)
    world.put("a", "b")
    looked = threading.Event()
    look = recheck._look

    def tell(*arguments: Any) -> Any:
        answer = look(*arguments)
        looked.set()
        return answer

    monkeypatch.setattr(recheck, "_look", tell)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(world.verify()), daemon=True)
    thread.start()
    assert looked.wait(PATIENCE)
    with world.pipeline():
        thread.join(PATIENCE)
    assert results[0].finding.same


def test_under_a_steady_load_nothing_is_taken_for_a_difference(world: World) -> None:
    ids = [f"d{number:03}" for number in range(60)]
    stop = threading.Event()

    def edit() -> None:
        while not stop.is_set():
            for one in range(0, 60, 20):
                world.put(*ids[one : one + 20])
            world.delete(*ids[:3])

    with world.pipeline():
        world.put(*ids)
        eventually(lambda: len(world.rows()) == 60)
        writer = threading.Thread(target=edit, daemon=True)
        writer.start()
        try:
            for _round in range(8):
                assert found(world.verify(wait=0.2)) == {}
        finally:
            stop.set()
            writer.join(PATIENCE)
        assert world.verify().finding.same


@pytest.mark.parametrize("moment", ["before the rows", "after the rows", "before CouchDB", "after CouchDB"])
def test_whenever_a_change_comes_between_the_looks_it_is_in_flight(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    world.put("a", "b")
    world.load()
    hold(world)
    world.put("a")
    looks = {"rows": (Table, "states"), "CouchDB": (Couch, "states")}
    kind, name = looks[moment.rsplit(maxsplit=1)[-1]]
    original = getattr(kind, name)

    def between(side: Any, ids: Any) -> dict[str, State]:
        if moment.startswith("before"):
            world.put("a")
        answer: dict[str, State] = original(side, ids)
        if moment.startswith("after"):
            world.put("a")
        return answer

    monkeypatch.setattr(kind, name, between)
    result = world.verify(wait=0)
    assert found(result) == {}
    assert result.finding.in_flight == 1


def test_a_first_load_is_said_instead_of_compared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "FAR_BEHIND", 5)
    world.put("a")
    world.load()
    hold(world)
    world.put(*"bcdefgh")
    result = world.repair()
    assert not result.finding.same
    assert not result.finding.compared
    assert result.finding.in_flight == 7
    assert "7 changes still to bring" in str(result.finding.problem)
    assert set(world.rows()) == {"a"}


def test_a_database_that_is_read_anew_is_said_instead_of_compared(world: World) -> None:
    world.put("a")
    world.load()
    hold(world, rereading=True)
    world.forget("a")
    result = world.verify()
    assert not result.finding.same
    assert found(result) == {}
    assert "anew" in str(result.finding.problem)


def test_a_table_that_a_pipeline_fills_from_elsewhere_is_neither_compared_nor_mended(world: World) -> None:
    world.put("a")
    world.load()
    hold(world)
    world.put("b")
    world.changes = {"COUCHDB_HOST": "localhost"}
    result = world.verify()
    assert not result.finding.compared
    assert not result.finding.same
    assert f"fills this table from 127.0.0.1/{world.database}" in str(result.finding.problem)
    with pytest.raises(ChtSyncError, match="nothing is written"):
        world.repair()
    assert set(world.rows()) == {"a"}


def test_rows_of_another_host_are_compared_but_not_mended(world: World) -> None:
    world.put("a", "b")
    world.load()
    world.forget("b")
    world.changes = {"COUCHDB_HOST": "localhost"}
    result = world.verify()
    assert found(result) == only(Kind.MISSING, "b")
    assert f"rows come from 127.0.0.1/{world.database}; COUCHDB_HOST names localhost/" in str(
        result.finding.problem
    )
    with pytest.raises(ChtSyncError, match="nothing is written"):
        world.repair()
    assert set(world.rows()) == {"a"}


def test_a_list_in_another_order_makes_no_difference(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ["b", "A", "a", "B", "_design/x", "é", "z", "10", "9"]
    world.put(*ids)
    world.load()
    listed = Couch.listed
    orders: list[Callable[[Any], Any]] = [
        lambda one: one[0].casefold(),
        lambda one: [-ord(character) for character in one[0]],
        lambda one: (one[0] != "z", one[0]),
    ]
    for order in orders:
        monkeypatch.setattr(
            Couch, "listed", lambda couch, order=order: iter(sorted(listed(couch), key=order))
        )
        assert world.verify().finding.same
    world.forget("A", "z")
    world.damage("update {} set _rev = '1-other' where _id = 'é'")
    for order in orders:
        monkeypatch.setattr(
            Couch, "listed", lambda couch, order=order: iter(sorted(listed(couch), key=order))
        )
        assert found(world.verify()) == {"missing": ["A", "z"], "stale": ["é"]}
