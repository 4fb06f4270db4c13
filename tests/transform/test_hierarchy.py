"""contact_hierarchy follows every contact above, and contact types follow the CHT's settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cht_sync.transform.runner import DbtRunner

from .warehouse import SENTINEL, Warehouse, run

SELECTED = ("+contact_hierarchy",)
NAMES = {"district": None, "area": "district", "other": "district", "home": "area", "ada": "home"}


@pytest.fixture(scope="module")
def dbt(warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> DbtRunner:
    """Runs the hierarchy and what it reads."""
    work = tmp_path_factory.mktemp("hierarchy")
    return DbtRunner(replace(warehouse.options, selectors=SELECTED, work_folder=work))


def contact(doc_id: str, parent: str | None, **more: Any) -> dict[str, Any]:
    kind = "person" if doc_id.endswith("ada") else "clinic"
    return {"type": kind, "name": doc_id, "parent": {"_id": parent} if parent else "", **more}


def plant(warehouse: Warehouse, prefix: str, **options: Any) -> None:
    """district > area > home > ada, and district > other."""
    for name, parent in NAMES.items():
        above = f"{prefix}-{parent}" if parent else None
        warehouse.put(f"{prefix}-{name}", contact(f"{prefix}-{name}", above), **options)


def above(warehouse: Warehouse, doc_id: str) -> list[str | None]:
    names: list[str | None] = warehouse.row("contact_hierarchy", doc_id)["ancestor_names"]
    return names


def test_a_contact_has_the_names_and_ids_of_those_above_it(warehouse: Warehouse, dbt: DbtRunner) -> None:
    plant(warehouse, "flat")
    run(dbt)
    ids = ["flat-district", "flat-area", "flat-home"]
    assert (
        warehouse.row("contact_hierarchy", "flat-ada").items()
        >= {
            "name": "flat-ada",
            "contact_type": "person",
            "parent_uuid": "flat-home",
            "depth": 3,
            "ancestor_uuids": ids,
            "ancestor_names": ids,
            "ancestor_types": ["clinic"] * 3,
            "complete": True,
        }.items()
    )
    top = warehouse.row("contact_hierarchy", "flat-district")
    assert (top["depth"], top["ancestor_uuids"], top["complete"]) == (0, [], True)


def test_a_contact_that_is_renamed_moved_deleted_or_comes_late_changes_all_below_it(
    warehouse: Warehouse, dbt: DbtRunner
) -> None:
    plant(warehouse, "live")
    run(dbt)

    warehouse.put("live-district", contact("live-district", None, name="Renamed"))
    run(dbt)
    assert above(warehouse, "live-ada") == ["Renamed", "live-area", "live-home"]
    assert above(warehouse, "live-other") == ["Renamed"]

    warehouse.put("live-home", contact("live-home", "live-other"))
    run(dbt)
    assert above(warehouse, "live-ada") == ["Renamed", "live-other", "live-home"]

    warehouse.delete("live-other")
    warehouse.put("live-district", contact("live-district", None, name="Again"))
    run(dbt)
    ada = warehouse.row("contact_hierarchy", "live-ada")
    assert ada["ancestor_uuids"] == ["live-other", "live-home"]
    assert (ada["ancestor_names"], ada["complete"]) == ([None, "live-home"], False)
    assert warehouse.rows("contact_hierarchy", "live-other") == []

    warehouse.put("live-other", contact("live-other", "live-district"))
    run(dbt)
    assert above(warehouse, "live-ada") == ["Again", "live-other", "live-home"]
    assert warehouse.row("contact_hierarchy", "live-ada")["complete"] is True


def test_contacts_above_each_other_in_a_circle_end_the_way_up(warehouse: Warehouse, dbt: DbtRunner) -> None:
    plant(warehouse, "round")
    run(dbt)
    warehouse.put("round-district", contact("round-district", "round-home"))
    run(dbt)
    ada = warehouse.row("contact_hierarchy", "round-ada")
    assert ada["ancestor_names"] == ["round-district", "round-area", "round-home"]
    assert ada["complete"] is False
    assert above(warehouse, "round-home") == ["round-district", "round-area"]
    warehouse.put("round-district", contact("round-district", None))
    run(dbt)
    assert warehouse.row("contact_hierarchy", "round-ada")["complete"] is True


def test_a_row_is_written_again_only_where_what_it_shows_has_changed(
    warehouse: Warehouse, dbt: DbtRunner
) -> None:
    plant(warehouse, "still")
    run(dbt)
    before = _version(warehouse, "still-ada")
    warehouse.put("still-district", contact("still-district", None, notes="counted"))
    run(dbt)
    assert _version(warehouse, "still-ada") == before
    warehouse.put("still-district", contact("still-district", None, name="Renamed"))
    run(dbt)
    assert _version(warehouse, "still-ada") != before


def test_the_contacts_above_are_those_of_the_same_database(warehouse: Warehouse, dbt: DbtRunner) -> None:
    plant(warehouse, "apart")
    plant(warehouse, "apart", database=SENTINEL)
    run(dbt)
    warehouse.put("apart-area", contact("apart-area", "apart-district", name="There"), database=SENTINEL)
    run(dbt)
    here, there = warehouse.rows("contact_hierarchy", "apart-ada")
    assert here["ancestor_names"] == ["apart-district", "apart-area", "apart-home"]
    assert there["ancestor_names"] == ["apart-district", "There", "apart-home"]


def test_a_type_that_the_settings_call_a_person_makes_its_contacts_people(
    fresh: Warehouse,
) -> None:
    dbt = DbtRunner(fresh.options)
    fresh.put("nia", {"type": "contact", "contact_type": "nurse", "name": "Nia", "patient_id": "7"})
    run(dbt)
    assert fresh.row("place", "nia")["name"] == "Nia"
    assert _types(fresh) == {("nurse", False, False)}

    types = [{"id": "nurse", "person": True}, {"id": "village"}]
    fresh.put("settings", {"settings": {"contact_types": types}})
    run(dbt)
    assert fresh.rows("place", "nia") == []
    assert fresh.row("person", "nia")["name"] == "Nia"
    assert fresh.row("patient", "nia")["patient_id"] == "7"
    assert _types(fresh) == {("nurse", True, True), ("village", False, True)}

    fresh.delete("settings")
    run(dbt)
    assert fresh.rows("person", "nia") == fresh.rows("patient", "nia") == []
    assert fresh.row("place", "nia")["name"] == "Nia"


def _version(warehouse: Warehouse, doc_id: str) -> tuple[str, str]:
    with warehouse.connection, warehouse.connection.cursor() as cursor:
        cursor.execute(
            "select xmin::text, ctid::text from dbt.contact_hierarchy where uuid = %s",
            (doc_id,),
        )
        (found,) = cursor.fetchall()
        return (found[0], found[1])


def _types(warehouse: Warehouse) -> set[tuple[str, bool, bool]]:
    with warehouse.connection, warehouse.connection.cursor() as cursor:
        cursor.execute("select id, person, configured from dbt.contact_type")
        return set(cursor.fetchall())
