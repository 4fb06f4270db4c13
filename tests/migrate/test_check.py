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


def test_before_a_run_it_is_said_that_there_was_none(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    result = country.run("check")
    assert result.exit_code == 3
    assert f"{country.medic.database}: not taken over yet: cht-sync migrate run" in result.output
    assert "resync" not in result.output


def test_what_is_newer_than_the_position_is_awaited(country: Country) -> None:
    """The earlier program goes on, and the pipeline has not begun yet."""
    country.medic.put(*IDS)
    country.couch2pg()
    assert country.run("run").exit_code == 0
    country.medic.put("late")
    country.query("insert into couchdb values (%s)", json.dumps(country.medic.document("late")))
    code, found = checked(country)
    assert (code, found["examples"]) == (0, {"awaited": ["late"]})


def test_what_the_earlier_program_cut_out_and_we_replace_is_the_same(country: Country) -> None:
    country.medic.put("a", note="x\0y")
    country.couch2pg()
    assert country.run("run").exit_code == 0
    assert country.medic.run("resync", country.medic.database).exit_code == 0
    assert country.medic.rows()["a"][2]["note"] == "x\ufffdy"
    assert checked(country) == (0, {"counts": {"same": 1}, "examples": {}})


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


def put_people(country: Country) -> None:
    """Contacts and a report in medic, telemetry in users-meta."""
    country.medic.put("hospital", type="district_hospital", name="Kisumu", reported_date=1)
    country.medic.put("area", type="health_center", name="Area", parent={"_id": "hospital"}, reported_date=2)
    country.medic.put("chw", type="person", name="Agnes", parent={"_id": "area"}, reported_date=3)
    country.medic.put("report", type="data_record", form="visit", reported_date=4, contact={"_id": "chw"})
    metadata = {
        "year": 2024,
        "month": 5,
        "day": 6,
        "user": "agnes",
        "deviceId": "d",
        "versions": {"app": "4.1.0"},
    }
    country.users_meta.put(
        "telemetry", type="telemetry", metadata=metadata, metrics={"boot_time": {"min": 1}}
    )


def views_of(country: Country) -> tuple[int, dict[str, tuple[Any, ...]], Any]:
    """The exit code; of each view its rows there and here, and those of one side alone; the note."""
    result = country.run("check", "--json")
    found = json.loads(result.output)
    kinds = ("rows_old", "rows_new", "only_old", "only_new")
    return (
        result.exit_code,
        {view["name"]: tuple(view[kind] for kind in kinds) for view in found["views"]},
        found["views_note"],
    )


def test_views_of_couch2pg_are_compared_with_those_in_their_place(country: Country) -> None:
    put_people(country)
    country.couch2pg()
    country.query("create view useview_visit as select doc ->> '_id' as uuid from couchdb where doc ? 'form'")
    assert country.run("run").exit_code == 0
    code, views, note = views_of(country)
    assert (code, views) == (0, {})
    assert note == "not compared, since there is no schema couch2pg: cht-sync migrate views makes it"
    assert country.run("views").exit_code == 0
    code, views, note = views_of(country)
    assert (code, note) == (0, None)
    assert {name: view for name, view in views.items() if view[:1] != view[1:2] or any(view[2:])} == {}
    for name, count in {
        "contactview_chw": 1,
        "form_metadata": 1,
        "useview_telemetry": 1,
        "useview_visit": 1,
    }.items():
        assert views[name] == (count, count, 0, 0)
    assert "useview_visit: 1 row, the same" in country.run("check").output


def test_a_view_that_differs_while_documents_do_not_is_a_fault(country: Country) -> None:
    put_people(country)
    country.couch2pg()
    assert country.run("run").exit_code == 0
    assert country.run("views").exit_code == 0
    country.query(
        "create or replace view couch2pg.contactview_hospital as "
        "select uuid, name from couch2pg.contactview_metadata where false"
    )
    code, views, _note = views_of(country)
    assert (code, views["contactview_hospital"]) == (3, (1, 0, 1, 0))
    assert (
        "contactview_hospital: 1 row there, 0 here: 1 only there, 0 only here" in country.run("check").output
    )


def test_views_may_differ_where_documents_do(country: Country) -> None:
    put_people(country)
    country.couch2pg()
    assert country.run("run").exit_code == 0
    assert country.run("views").exit_code == 0
    country.medic.put("another", type="district_hospital", name="Siaya", reported_date=5)
    with country.medic.pipeline():
        eventually(lambda: country.medic.rows() == country.medic.winners())
    code, views, _note = views_of(country)
    assert (code, views["contactview_hospital"]) == (0, (1, 2, 0, 1))
    assert "Documents are not the same on both sides, so views may differ." in country.run("check").output


def test_tables_beside_those_of_cht_sync_2_are_compared_with_the_models_of_dbt(country: Country) -> None:
    put_people(country)
    country.cht_sync_2()
    assert country.run("run").exit_code == 0
    country.query("create table old_v1.contact as select 'a' as uuid, now()::timestamp as saved_timestamp")
    country.query("create table old_v1.person as select 'a' as uuid")
    country.query("create table old_v1._dataemon (packages jsonb)")
    country.query(
        "create table dbt.contact as select 'a' as uuid, '2020-01-01'::timestamp as saved_timestamp"
    )
    code, views, note = views_of(country)
    assert (code, note) == (0, None)
    assert views == {"contact": (1, 1, 0, 0), "person": (None, None, None, None)}
    assert "person: not compared: dbt has no person" in country.run("check").output


def test_views_may_differ_where_documents_are_redacted(country: Country) -> None:
    redacting = country.with_settings(REDACT_FIELDS="name")
    put_people(redacting)
    redacting.couch2pg()
    assert redacting.run("run").exit_code == 0
    assert redacting.run("views").exit_code == 0
    code, views, _note = views_of(redacting)
    assert (code, views["contactview_hospital"]) == (0, (1, 1, 1, 1))
