"""The Grafana dashboard can be imported anywhere, and its panels ask for what there is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from queries import problems

from cht_sync.settings import CHECKOUT

DASHBOARD: dict[str, Any] = json.loads(
    (CHECKOUT / "deploy" / "monitoring" / "grafana-dashboard.json").read_text()
)
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
WIDTH = 24

each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))


@each_panel
def test_a_panel_asks_for_what_real_parts_expose(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        assert problems(target["expr"]) == []


@each_panel
def test_a_panel_has_a_unit_and_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]


@each_panel
def test_a_panel_takes_the_data_source_that_was_chosen(panel: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [
        chosen,
        *[chosen] * len(panel["targets"]),
    ]


@each_panel
def test_what_a_pipeline_tells_is_of_the_chosen_databases(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        is_of_pipelines = "cht_sync_" in target["expr"].replace("cht_sync_dbt_", "").replace(
            "cht_sync_disk_", ""
        )
        assert ('pipeline=~"$database"' in target["expr"]) == is_of_pipelines


def test_the_variables_are_the_data_source_and_the_database() -> None:
    source, database = DASHBOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert (database["name"], database["multi"], database["includeAll"]) == ("database", True, True)
    metric = database["definition"].removeprefix("label_values(").split(",")[0]
    assert problems(f'{metric}{{pipeline="medic"}}') == []


def test_it_is_new_where_it_is_imported() -> None:
    assert DASHBOARD["id"] is None
    assert DASHBOARD["uid"] == "cht-sync"
    assert DASHBOARD["schemaVersion"] >= 36


def test_no_two_panels_lie_on_each_other_and_each_has_an_id() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
