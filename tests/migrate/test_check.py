"""`cht-sync migrate check`: old and new, document by document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
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
    assert (code, note) == (3, None)
    assert views == {"contact": (1, 1, 0, 0), "person": (None, None, None, None)}
    said = country.run("check").output
    assert "person: not compared: dbt has no person" in said
    assert said.endswith("Not as they must be: person\n1 view not compared, 1 of them not as they must be\n")


def test_views_may_differ_where_documents_are_redacted(country: Country) -> None:
    redacting = country.with_settings(REDACT_FIELDS="name")
    put_people(redacting)
    redacting.couch2pg()
    assert redacting.run("run").exit_code == 0
    assert redacting.run("views").exit_code == 0
    code, views, _note = views_of(redacting)
    assert (code, views["contactview_hospital"]) == (0, (1, 1, 1, 1))
    said = redacting.run("check").output
    assert "Documents are redacted here, so views may differ." in said
    assert "not the same" not in said


def faults_of(country: Country) -> tuple[int, set[str]]:
    """The exit code, and the views that are faults."""
    result = country.run("check", "--json")
    return result.exit_code, {view["name"] for view in json.loads(result.output)["views"] if view["fault"]}


@pytest.fixture
def with_views(country: Country) -> Country:
    """A country that was moved from couch2pg, with people and views."""
    put_people(country)
    country.couch2pg()
    country.query("create view useview_visit as select doc ->> '_id' as uuid from couchdb where doc ? 'form'")
    assert country.run("run").exit_code == 0
    assert country.run("views").exit_code == 0
    return country


def test_a_view_with_the_columns_of_a_table_of_documents_is_compared(with_views: Country) -> None:
    with_views.query("create view persons as select * from couchdb where doc ->> 'type' = 'person'")
    assert with_views.run("views").exit_code == 0
    code, views, _note = views_of(with_views)
    assert (code, views["raw_contacts"], views["persons"]) == (0, (3, 3, 0, 0), (1, 1, 0, 0))
    with_views.query("create or replace view couch2pg.persons as select doc from couch2pg.couchdb")
    assert faults_of(with_views) == (3, {"persons"})


def test_a_view_that_selects_all_of_cht_sync_2_is_compared(country: Country) -> None:
    put_people(country)
    country.cht_sync_2()
    assert country.run("run").exit_code == 0
    country.query("create view old_v1.reports as select * from old_v1.couchdb where doc ? 'form'")
    assert faults_of(country) == (3, {"reports"})
    country.query("create view dbt.reports as select * from old_v1.reports")
    assert faults_of(country) == (0, set())


def test_a_view_that_is_lost_or_lacks_a_column_is_a_fault(with_views: Country) -> None:
    with_views.query("""
        drop view couch2pg.useview_visit, couch2pg.contactview_hospital;
        create view couch2pg.contactview_hospital as select name from couch2pg.contactview_metadata
          where type = 'district_hospital'
    """)
    assert faults_of(with_views) == (3, {"useview_visit", "contactview_hospital"})
    said = with_views.run("check").output
    assert "contactview_hospital: 1 row, the same (only in the old one: uuid)" in said
    assert "useview_visit: not compared: couch2pg has no useview_visit" in said
    assert "Not as they must be: contactview_hospital, useview_visit" in said


@contextmanager
def reader(country: Country) -> Iterator[tuple[Country, str]]:
    """Who may read all that is there, and no more, as POSTGRES_USER; and this role."""
    role = f"{country.medic.installation.name}_reader"
    country.query(f"create role {role} login password 'reader'")
    for schema in ("public", "v1", "couch2pg"):
        country.query(
            f"grant usage on schema {schema} to {role}; "
            f"grant select on all tables in schema {schema} to {role}"
        )
    try:
        yield country.with_settings(POSTGRES_USER=role, POSTGRES_PASSWORD="reader"), role
    finally:
        country.query(f"drop owned by {role}; drop role {role}")


def test_a_view_that_may_not_be_read_is_a_fault(with_views: Country) -> None:
    with reader(with_views) as (reading, role):
        assert faults_of(reading) == (0, set())
        with_views.query(f"revoke select on couch2pg.useview_visit from {role}")
        assert faults_of(reading) == (3, {"useview_visit"})
        assert "useview_visit: not compared: cannot be compared: permission denied for view" in (
            reading.run("check").output
        )


def test_who_may_not_make_temporary_tables_is_told_what_to_grant(with_views: Country) -> None:
    name = with_views.medic.installation.name
    with reader(with_views) as (reading, role):
        with_views.query(f"revoke temporary on database {name} from public")
        code, views, note = views_of(reading)
        assert (code, views) == (3, {})
        assert note is not None
        assert note.endswith(f"grant temporary on database {name} to {role}")
        with_views.query(note.rpartition(": ")[2])
        assert faults_of(reading) == (0, set())


def test_a_view_that_is_left_for_want_of_trust_is_counted(with_views: Country) -> None:
    role = f"{with_views.medic.installation.name}_analyst"
    with_views.query(f"create role {role}; grant select on couchdb to {role}")
    try:
        with_views.query(
            f"alter view useview_visit owner to {role};"
            "create or replace view useview_visit as select doc ->> '_id' as uuid from couchdb"
        )
        assert faults_of(with_views) == (0, set())
        said = with_views.run("check").output
        assert f"useview_visit: not compared: it belongs to {role}, whose SQL is not run here" in said
        assert said.endswith("\n1 view not compared\n")
    finally:
        with_views.query(f"drop owned by {role}; drop role {role}")


def test_what_no_view_reads_excuses_no_view(with_views: Country) -> None:
    """A copy of documents, the progress of another host, and documents of users-meta."""
    with_views.query("create table couchdb_backup (doc jsonb)")
    with_views.query("insert into couchdb_backup select doc from couchdb")
    with_views.query("insert into couchdb_progress values ('1', 'elsewhere:5984/medic')")
    with_views.users_meta.damage("delete from {}")
    with_views.query(
        "create or replace view couch2pg.contactview_hospital as "
        "select uuid, name from couch2pg.contactview_metadata where false"
    )
    code, faults = faults_of(with_views)
    assert (code, faults) == (3, {"contactview_hospital"})
    views = views_of(with_views)[1]
    assert views["useview_telemetry"] == (1, 0, 1, 0)


def test_a_table_that_was_left_excuses_the_views_that_read_it(with_views: Country) -> None:
    with_views.query('insert into couchdb_medic_logs values (\'{"_id": "log", "_rev": "1-0"}\')')
    with_views.query("create view useview_logs as select doc ->> '_id' as uuid from couchdb_medic_logs")
    assert with_views.run("views").exit_code == 0
    assert faults_of(with_views) == (0, set())
    assert views_of(with_views)[1]["useview_logs"] == (1, 0, 1, 0)
    said = with_views.run("check").output
    assert "public.couchdb_medic_logs is not taken over, so views may differ." in said
    assert "Documents are not the same" not in said


def test_rows_of_a_database_that_is_not_moved_are_brought_by_its_pipeline(country: Country) -> None:
    country.medic.put(*IDS)
    country.sentinel.put("one", "two")
    country.couch2pg()
    country.query("delete from couchdb_progress where source like '%%-sentinel'")
    assert country.run("run").exit_code == 0
    code, found = checked(country)
    assert (code, sorted(found["examples"]["awaited"])) == (0, ["one", "two"])
    with country.sentinel.pipeline():
        eventually(lambda: country.query("select 1 from v1.couchdb_progress where caught_up_at is not null"))
    assert checked(country) == (0, {"counts": {"same": 32}, "examples": {}})
    country.sentinel.forget("one")
    code, found = checked(country)
    assert (code, found["examples"]) == (3, {"missing": ["one"]})


def test_rows_of_a_source_that_the_progress_does_not_name_are_looked_up(country: Country) -> None:
    country.medic.put(*IDS)
    country.sentinel.put("one")
    country.cht_sync_2()
    country.query("delete from old_v1.couchdb_progress where source like '%%-sentinel'")
    assert country.run("run").exit_code == 0
    code, found = checked(country)
    assert (code, found["examples"]) == (0, {"awaited": ["one"]})


def test_rows_of_another_server_are_counted(country: Country) -> None:
    country.medic.put(*IDS)
    country.cht_sync_2()
    assert country.run("run").exit_code == 0
    country.query(
        "insert into old_v1.couchdb values (now(), 'x', false, 'elsewhere/medic', %s)",
        json.dumps({"_id": "x", "_rev": "1-0"}),
    )
    assert checked(country) == (0, {"counts": {"same": 30, "elsewhere": 1}, "examples": {}})


def test_a_row_of_another_revision_than_couchdb_has_is_a_fault(moved: Country) -> None:
    moved.medic.damage("update {} set _rev = '9-x' where _id = %s", IDS[3])
    moved.medic.damage("update {} set _rev = '9-y', _deleted = true where _id = %s", IDS[4])
    code, found = checked(moved)
    assert (code, {kind: sorted(ids) for kind, ids in found["examples"].items()}) == (3, {"stale": IDS[3:5]})
    assert moved.medic.run("resync", moved.medic.database).exit_code == 0
    assert checked(moved) == (0, {"counts": {"same": 30}, "examples": {}})


def test_a_row_that_the_pipeline_has_still_to_renew_is_awaited(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    assert country.run("run").exit_code == 0
    country.medic.put(IDS[0])
    new = json.dumps(country.medic.document(IDS[0]))
    country.query("update couchdb set doc = %s where doc ->> '_id' = %s", new, IDS[0])
    code, found = checked(country)
    assert (code, found["examples"]) == (0, {"awaited": [IDS[0]]})


def test_what_couchdb_has_and_nobody_is_to_bring_is_missing(moved: Country) -> None:
    """Also where the old table has an older revision."""
    moved.medic.put(IDS[0])
    with moved.medic.pipeline():
        eventually(lambda: moved.medic.rows() == moved.medic.winners())
    moved.medic.forget(IDS[0])
    code, found = checked(moved)
    assert (code, found["examples"]) == (3, {"missing": [IDS[0]]})


def test_what_was_changed_in_the_old_table_is_no_fault(moved: Country) -> None:
    """But what was changed here is, and also what was changed on both sides."""
    (relation,) = {
        table["relation"]
        for table in json.loads(moved.run("check", "--json").output)["tables"]
        if moved.medic.database in table["databases"]
    }
    schema, _, name = relation.partition(".")
    for one in IDS[3:5]:
        moved.query(
            f"""update {schema}."{name}" set doc = doc || '{{"n": "edited"}}' where doc ->> '_id' = %s""", one
        )
    code, found = checked(moved)
    assert (code, {kind: sorted(ids) for kind, ids in found["examples"].items()}) == (0, {"edited": IDS[3:5]})
    assert "2 changed in the old table by hand" in moved.run("check").output
    for one in IDS[4:6]:
        moved.medic.damage("""update {} set doc = doc || '{{"n": "ours"}}' where _id = %s""", one)
    code, found = checked(moved)
    assert (code, found["examples"]["edited"]) == (3, [IDS[3]])
    assert sorted(found["examples"]["changed"]) == IDS[4:6]
    assert moved.medic.run("resync", moved.medic.database).exit_code == 0
    assert checked(moved)[0] == 0


def test_a_document_that_is_there_twice_hides_none_that_is_here_alone(country: Country) -> None:
    """The table of users-meta has no unique index."""
    country.users_meta.put("a", "b", "c")
    country.couch2pg()
    country.query("delete from couchdb_users_meta where doc ->> '_id' = 'c'")
    country.query("insert into couchdb_users_meta select doc from couchdb_users_meta")
    assert country.run("run").exit_code == 0
    result = country.run("check", "--json")
    table = next(
        one for one in json.loads(result.output)["tables"] if country.users_meta.database in one["databases"]
    )
    counts = table["counts"]
    assert (counts["same"], counts["here_alone"], counts["duplicates"]) == (4, 1, 2)


def test_views_over_what_jsonb_cannot_hold_may_differ(country: Country) -> None:
    country.medic.put("a", type="person", name="x\0y", reported_date=1)
    country.couch2pg()
    assert country.run("run").exit_code == 0
    assert country.medic.run("resync", country.medic.database).exit_code == 0
    assert country.run("views").exit_code == 0
    assert faults_of(country) == (0, set())
    assert views_of(country)[1]["raw_contacts"] == (1, 1, 1, 1)
