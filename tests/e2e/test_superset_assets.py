"""Dashboards as files: brought in at every start, without taking away what somebody did in Superset."""

from __future__ import annotations

import dataclasses
import json
import logging
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from superset_client import Client
from whole_installation import Installation

from cht_sync.errors import ChtSyncError
from cht_sync.runtime import superset
from cht_sync.runtime.superset import Superset
from cht_sync.settings import CHECKOUT, Settings

ASSETS = CHECKOUT / "superset" / "assets"
KINDS = ("datasets", "charts", "dashboards")
CHART = "People by area"


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


def test_what_nobody_changed_is_exported_as_it_was_written(
    with_superset: Installation, administrator: Client, tmp_path: Path
) -> None:
    chart = administrator.find("chart", CHART)
    administrator.ask("PUT", f"chart/{chart['id']}", json={"slice_name": "Mine"})
    try:
        with_superset.run("superset", "export", "--output", str(tmp_path / "out"))
    finally:
        with_superset.run("superset", "import", "--overwrite")
    written = {
        path.relative_to(tmp_path / "out"): path.read_text() for path in (tmp_path / "out").rglob("*.yaml")
    }
    ours = {
        path.relative_to(ASSETS): path.read_text()
        for kind in KINDS
        for path in (ASSETS / kind).glob("*.yaml")
    }
    assert written.keys() == ours.keys()
    assert [path for path in ours if written[path] != ours[path]] == [Path("charts/overview_areas.yaml")]
    assert "slice_name: Mine" in written[Path("charts/overview_areas.yaml")]
    assert with_superset.settings.superset_db_password not in "".join(written.values())


def test_a_dashboard_that_the_api_made_is_exported_and_brought_in_elsewhere(
    with_superset: Installation, administrator: Client, other_files: Path
) -> None:
    service = Superset(with_superset.settings)
    board = administrator.ask("POST", "dashboard/", json={"dashboard_title": "To be shipped"}).json()["id"]
    ours = administrator.find("chart", CHART)
    words = administrator.ask("GET", f"chart/{ours['id']}").json()["result"]
    chart = {
        "slice_name": "A chart of it",
        "viz_type": words["viz_type"],
        "params": words["params"],
        "datasource_id": ours["datasource_id"],
        "datasource_type": "table",
        "dashboards": [board],
    }
    made = administrator.ask("POST", "chart/", json=chart)
    assert made.status_code == 201, made.text
    place = {
        "type": "CHART",
        "id": "CHART-1",
        "children": [],
        "meta": {"chartId": made.json()["id"], "width": 4},
    }
    administrator.ask("PUT", f"dashboard/{board}", json={"position_json": json.dumps({"CHART-1": place})})
    service.provision("export", str(other_files / "assets"))
    (file,) = (other_files / "assets" / "dashboards").glob("to_be_shipped_*.yaml")
    written = yaml.safe_load(file.read_text())
    assert "metadata" not in written
    assert [one["id"] for one in written["position"].values() if isinstance(one, dict)] == ["CHART-1"]
    # Another installation is one that has never had them.
    administrator.ask("DELETE", f"chart/{made.json()['id']}")
    administrator.ask("DELETE", f"dashboard/{board}")

    assert f"dashboards/{file.stem}: made" in service.provision("import")
    shipped = administrator.find("dashboard", "To be shipped")["id"]
    on_it = administrator.ask("GET", f"dashboard/{shipped}/charts").json()["result"]
    assert [one["slice_name"] for one in on_it] == ["A chart of it"]
    assert service.provision("import") == []
    for kind, name in (("chart", "A chart of it"), ("dashboard", "To be shipped")):
        administrator.ask("DELETE", f"{kind}/{administrator.find(kind, name)['id']}")


def test_a_file_that_superset_does_not_take_keeps_no_other_away(
    with_superset: Installation, administrator: Client, other_files: Path
) -> None:
    charts = other_files / "assets" / "charts"
    good = charts / "overview_areas.yaml"
    nowhere = str(uuid4())
    broken = {**yaml.safe_load(good.read_text()), "uuid": str(uuid4()), "dataset_uuid": nowhere}
    (charts / "broken.yaml").write_text(yaml.safe_dump(broken))
    good.write_text(good.read_text().replace(CHART, f"{CHART}, changed"))
    said = f"charts/broken: cannot be brought in: its dataset {nowhere} is not in Superset"
    service = Superset(with_superset.settings)
    lines = service.provision("start")
    assert said in lines
    assert "charts/overview_areas: updated" in lines
    with pytest.raises(ChtSyncError, match=said):
        service.provision("import")

    (charts / "broken.yaml").write_text("slice_name: Nobody\n")
    (charts / "torn.yaml").write_text("a: [1\n")
    (charts / "lonely.yaml").write_text(f"uuid: {uuid4()}\n")
    (other_files / "assets" / "datasets" / "nameless.yaml").write_text(f"uuid: {uuid4()}\n")
    good.write_text(good.read_text().replace(CHART, f"{CHART}, again"))
    lines = service.provision("start")
    assert "charts/broken: cannot be brought in: it has no uuid" in lines
    assert "charts/lonely: cannot be brought in: it has no dataset_uuid" in lines
    assert "datasets/nameless: cannot be brought in: it has no table_name" in lines
    assert any(one.startswith("charts/torn: cannot be brought in: it is no file of") for one in lines)
    assert "charts/overview_areas: updated" in lines
    assert administrator.find("chart", f"{CHART}, again, changed")


def test_a_chart_that_somebody_looked_at_still_follows_its_file(
    with_superset: Installation, administrator: Client, other_files: Path
) -> None:
    # What Explore writes by itself when a chart is opened there.
    chart = administrator.find("chart", CHART)
    looked = {"query_context": '{"datasource": {"id": 1}}', "query_context_generation": True}
    assert administrator.ask("PUT", f"chart/{chart['id']}", json=looked).status_code == 200
    file = other_files / "assets" / "charts" / "overview_areas.yaml"
    file.write_text(file.read_text().replace(CHART, f"{CHART}, newer"))
    assert Superset(with_superset.settings).provision("import") == ["charts/overview_areas: updated"]


@pytest.fixture
def other_files(
    with_superset: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Files of Superset's other than the checkout's own; afterwards those count again."""
    folder = tmp_path / "superset"
    shutil.copytree(CHECKOUT / "superset", folder)
    monkeypatch.setattr(superset, "SOURCES", folder)
    yield folder
    monkeypatch.undo()
    Superset(with_superset.settings).provision("import", "--overwrite")


def test_dashboards_on_models_that_a_package_does_not_have_are_left_out_until_it_has_them(
    with_superset: Installation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="cht_sync.runtime.superset")
    shared = with_superset.settings.state_folder / "superset"
    settings = dataclasses.replace(with_superset.settings, home=tmp_path, dbt_postgres_schema="small")
    settings.data_folder.mkdir(parents=True)
    (settings.state_folder / "superset").symlink_to(shared.resolve())
    with_superset.sql("create schema small; grant usage on schema small to data_superset; select 1")
    _views(with_superset, "small", like="%sync%")
    _views(with_superset, "small", like="dbt_runs")

    Superset(settings).prepare(lambda _words: None)
    assert "dashboards/sync_health: made" in caplog.text
    for name in ("programme_overview", "data_quality"):
        left_out = f'dashboards/{name}: left out for now: relation "data_record" does not exist'
        assert left_out in caplog.text
    assert "overview_reports" not in caplog.text

    _views(with_superset, "small", like="%")
    caplog.clear()
    Superset(settings).prepare(lambda _words: None)
    assert "dashboards/programme_overview: made" in caplog.text
    assert "dashboards/data_quality: made" in caplog.text
    assert "left out" not in caplog.text
    assert _schemas_of_analysts(settings) == ["small"]
    Superset(dataclasses.replace(settings, dbt_postgres_schema="dbt")).provision("import")
    assert _schemas_of_analysts(settings) == ["dbt"]


def test_what_somebody_made_survives_an_upgrade_that_changes_the_files(
    with_superset: Installation, administrator: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = administrator.find("chart", CHART)
    words = administrator.ask("GET", f"chart/{ours['id']}").json()["result"]
    mine = {key: words[key] for key in ("viz_type", "params")}
    dataset = {"datasource_id": ours["datasource_id"], "datasource_type": "table"}
    board = administrator.ask("POST", "dashboard/", json={"dashboard_title": "Ours alone"}).json()["id"]
    chart = {"slice_name": "People, my way", **mine, **dataset, "dashboards": [board]}
    made = administrator.ask("POST", "chart/", json=chart)
    assert made.status_code == 201, made.text

    upgraded = tmp_path / "superset"
    shutil.copytree(CHECKOUT / "superset", upgraded)
    file = upgraded / "assets" / "charts" / "overview_areas.yaml"
    file.write_text(file.read_text().replace(CHART, f"{CHART}, upgraded"))
    monkeypatch.setattr(superset, "SOURCES", upgraded)
    service = Superset(with_superset.settings)
    try:
        assert "charts/overview_areas: updated" in service.provision("start")
        assert administrator.find("chart", f"{CHART}, upgraded")["id"] == ours["id"]
        assert administrator.find("chart", "People, my way")["id"] == made.json()["id"]
        on_it = administrator.ask("GET", f"dashboard/{board}/charts").json()["result"]
        assert [one["slice_name"] for one in on_it] == ["People, my way"]
    finally:
        monkeypatch.undo()
        service.provision("start")
        administrator.ask("DELETE", f"chart/{made.json()['id']}")
        administrator.ask("DELETE", f"dashboard/{board}")
    assert administrator.find("chart", CHART)["id"] == ours["id"]


def test_a_restart_with_another_secret_key_keeps_a_dashboard_of_ones_own_and_reaches_the_models(
    with_superset: Installation, administrator: Client
) -> None:
    made = administrator.ask("POST", "dashboard/", json={"dashboard_title": "My own"})
    assert made.status_code == 201, made.text
    with_superset.run("down")
    with_superset.variables = {**with_superset.variables, "SUPERSET_SECRET_KEY": secrets.token_urlsafe(32)}
    with_superset.run("up", "--detach", "--without", "data-generator")
    base = f"http://127.0.0.1:{with_superset.settings.superset_port}"
    again = Client(base, "admin", administrator.password)
    assert again.find("dashboard", "My own")["id"] == made.json()["id"]
    answer = again.query("select count(*) as persons from dbt.person")
    assert answer.status_code == 200, answer.text


def _schemas_of_analysts(settings: Settings) -> list[str]:
    """The schemas of our connection that the role Analyst may ask, as Superset's own database has them."""
    with closing(sqlite3.connect(settings.data_folder / "superset" / "superset.db")) as database:
        found = database.execute("""
            select view.name from ab_role as role
            join ab_permission_view_role as given on given.role_id = role.id
            join ab_permission_view as right on right.id = given.permission_view_id
            join ab_permission as permission on permission.id = right.permission_id
            join ab_view_menu as view on view.id = right.view_menu_id
            where role.name = 'Analyst' and permission.name = 'schema_access'
        """).fetchall()
    return [name.rsplit("[", 1)[1].rstrip("]") for (name,) in found]


def _views(installation: Installation, schema: str, *, like: str) -> None:
    """Give a schema the models of our own package whose names are like that."""
    names = installation.sql(
        "select relname from pg_class where relnamespace = 'dbt'::regnamespace and relkind in ('r', 'v') "
        "and relname like %s and not exists "
        "(select from pg_class as there where there.relname = pg_class.relname "
        "and there.relnamespace = %s::regnamespace)",
        like,
        schema,
    )
    for (name,) in names:
        installation.sql(f'create view "{schema}"."{name}" as select * from dbt."{name}"; select 1')
    installation.sql(f'grant select on all tables in schema "{schema}" to data_superset; select 1')
