"""Dashboards as files: brought in at every start, without taking away what somebody did in Superset."""

from __future__ import annotations

import secrets
from pathlib import Path

import yaml
from superset_client import Client
from whole_installation import Installation

from cht_sync.settings import CHECKOUT

ASSETS = CHECKOUT / "superset" / "assets"
CHART = "Population by area"


def test_bringing_them_in_again_changes_nothing(with_superset: Installation) -> None:
    assert "as the files say" in with_superset.run("superset", "import").stdout


def test_what_somebody_changed_stays_until_it_is_overwritten(
    with_superset: Installation, administrator: Client
) -> None:
    chart = administrator.find("chart", CHART)
    renamed = administrator.ask("PUT", f"chart/{chart['id']}", json={"slice_name": "Mine"})
    assert renamed.status_code == 200, renamed.text
    with_superset.run("superset", "import")
    assert administrator.find("chart", "Mine")["id"] == chart["id"]
    with_superset.run("superset", "import", "--overwrite")
    assert administrator.find("chart", CHART)["id"] == chart["id"]


def test_what_somebody_deleted_stays_away_until_it_is_overwritten(
    with_superset: Installation, administrator: Client
) -> None:
    board = administrator.find("dashboard", "Data quality")
    assert administrator.ask("DELETE", f"dashboard/{board['id']}").status_code == 200
    said = with_superset.run("superset", "import").stdout
    assert "dashboards/data_quality: was deleted in Superset, stays away" in said
    with_superset.run("superset", "import", "--overwrite")
    assert administrator.find("dashboard", "Data quality")["id"] != board["id"]


def test_what_is_exported_is_what_was_brought_in(with_superset: Installation, tmp_path: Path) -> None:
    with_superset.run("superset", "export", "--output", str(tmp_path / "out"))
    for kind in ("datasets", "charts", "dashboards"):
        written = {
            path.name: yaml.safe_load(path.read_text()) for path in (tmp_path / "out" / kind).glob("*")
        }
        ours = {path.name: yaml.safe_load(path.read_text()) for path in (ASSETS / kind).glob("*")}
        assert {name: one["uuid"] for name, one in written.items()} == {
            name: one["uuid"] for name, one in ours.items()
        }
    assert with_superset.settings.superset_db_password not in "".join(
        path.read_text() for path in (tmp_path / "out").rglob("*.yaml")
    )


def test_a_restart_with_another_secret_key_keeps_a_dashboard_of_ones_own_and_reaches_the_models(
    with_superset: Installation, administrator: Client
) -> None:
    made = administrator.ask("POST", "dashboard/", json={"dashboard_title": "My own"})
    assert made.status_code == 201, made.text
    with_superset.run("down")
    with_superset.variables = {**with_superset.variables, "SUPERSET_SECRET_KEY": secrets.token_urlsafe(32)}
    with_superset.run("up", "--detach", "--without", "data-generator")
    again = Client(administrator.base, "admin", administrator.password)
    assert again.find("dashboard", "My own")["id"] == made.json()["id"]
    answer = again.query("select count(*) as persons from dbt.person")
    assert answer.status_code == 200, answer.text
