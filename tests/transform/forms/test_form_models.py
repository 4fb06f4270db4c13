"""A form's table: every type, wrong values, edits, deletions, and what changes its definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..warehouse import MEDIC, SENTINEL, Warehouse, run
from .project import Project, project_of, report

EVERY_TYPE = """
{name: visit_note}
{name: due, data_type: date, config: {meta: {path: fields.due_on}}}
{name: seen_at, data_type: timestamptz}
{name: seen_utc, data_type: timestamp, config: {meta: {path: fields.seen_at}}}
{name: ill, data_type: boolean, config: {meta: {path: fields.group.ill}}}
{name: count, data_type: integer}
{name: total, data_type: bigint, config: {meta: {path: fields.count}}}
{name: weight, data_type: numeric}
{name: celsius, data_type: double precision, config: {meta: {path: fields.temperature, range: [30, 45]}}}
{name: children, data_type: jsonb}
{name: select, config: {meta: {path: [fields, "a.b", "it's \\\\ %s"]}}}
{name: source_id, config: {meta: {path: hidden.deep.0.id}}}
"""


@pytest.fixture
def project(fresh: Warehouse, tmp_path: Path) -> Project:
    return project_of(fresh, tmp_path)


def own_columns(row: dict[str, Any]) -> dict[str, Any]:
    fixed = ("uuid", "source", "saved_timestamp", "reported", "contact_uuid", "patient_id", "patient_uuid")
    assert set(fixed) < set(row)
    return {name: value for name, value in row.items() if name not in fixed}


def test_each_type_is_read_and_what_cannot_be_read_costs_its_field_and_is_named(project: Project) -> None:
    project.form("visit", EVERY_TYPE)
    good = {
        "visit_note": "well",
        "due_on": "2024/2/29",
        "seen_at": 1544031155715,
        "group": {"ill": "yes"},
        "count": "12",
        "weight": "3.50",
        "temperature": "36.6",
        "children": [{"name": "A"}],
        "a.b": {"it's \\ %s": "dotted"},
    }
    wrong = {
        "visit_note": {"a": "group"},
        "due_on": "2023-02-29",
        "seen_at": "noon",
        "group": {"ill": "perhaps"},
        "count": "9999999999",
        "weight": "x" * 300,
        "temperature": 98.6,
        "children": None,
    }
    put = project.warehouse.put
    put(
        "good",
        report(
            "visit",
            good,
            reported_date=1544031155000,
            contact={"_id": "chw"},
            patient_id="p1",
            hidden={"deep": [{"id": "s1"}]},
        ),
    )
    put("wrong", report("visit", wrong))
    put("empty", report("visit", dict.fromkeys(good, "")))
    put("no-fields", {"type": "data_record", "form": "visit"})
    put("other", report("another", good))
    project.run()

    row = project.warehouse.row("visit", "good")
    assert own_columns(row) == {
        "visit_note": "well",
        "due": "2024-02-29",
        "seen_at": "2018-12-05T17:32:35.715+00:00",
        "seen_utc": "2018-12-05T17:32:35.715",
        "ill": True,
        "count": 12,
        "total": 12,
        "weight": 3.5,
        "celsius": 36.6,
        "children": [{"name": "A"}],
        "select": "dotted",
        "source_id": "s1",
    }
    assert (row["reported"], row["contact_uuid"], row["patient_id"]) == (
        "2018-12-05T17:32:35+00:00",
        "chw",
        "p1",
    )
    nothing = dict.fromkeys(own_columns(row))
    assert own_columns(project.warehouse.row("visit", "no-fields")) == nothing
    assert own_columns(project.warehouse.row("visit", "empty")) == nothing
    assert own_columns(project.warehouse.row("visit", "wrong")) == {
        **nothing,
        "visit_note": '{"a": "group"}',
        "total": 9999999999,
    }
    assert project.warehouse.rows("visit", "other") == []
    assert project.rejected() == [
        ("wrong", "visit", "celsius", "98.6"),
        ("wrong", "visit", "count", "9999999999"),
        ("wrong", "visit", "due", "2023-02-29"),
        ("wrong", "visit", "ill", "perhaps"),
        ("wrong", "visit", "seen_at", "noon"),
        ("wrong", "visit", "seen_utc", "noon"),
        ("wrong", "visit", "weight", "x" * 200),
    ]
    assert project.query("""
        select source, path, data_type, form from {schema}.rejected_values where column_name = 'ill'
    """) == [("couch/medic", "fields.group.ill", "boolean", "visit")]


def test_a_table_has_the_types_that_its_file_declares(project: Project) -> None:
    project.form("visit", EVERY_TYPE)
    project.run()
    found = dict(
        project.query("""
            select attname::text, format_type(atttypid, atttypmod) from pg_attribute
            where attrelid = '{schema}.visit'::regclass and attnum > 7 and not attisdropped
        """)
    )
    assert found == {
        "visit_note": "text",
        "due": "date",
        "seen_at": "timestamp with time zone",
        "seen_utc": "timestamp without time zone",
        "ill": "boolean",
        "count": "integer",
        "total": "bigint",
        "weight": "numeric",
        "celsius": "double precision",
        "children": "jsonb",
        "select": "text",
        "source_id": "text",
    }


def test_rejected_values_follow_their_document(project: Project) -> None:
    project.form("visit", "{name: due, data_type: date}")
    project.form("birth", "{name: due, data_type: integer}")
    put, dbt = project.warehouse.put, project.dbt()
    put("edited", report("visit", {"due": "soon"}))
    put("deleted", report("visit", {"due": "soon"}))
    put("moved", report("visit", {"due": "2024-01-01"}))
    put("twin", report("visit", {"due": "never"}), database=MEDIC)
    put("twin", report("visit", {"due": "later"}), database=SENTINEL)
    run(dbt)
    put("new", report("visit", {"due": "today"}))
    run(dbt)
    assert [(uuid, value) for uuid, _model, _column, value in project.rejected()] == [
        ("deleted", "soon"),
        ("edited", "soon"),
        ("new", "today"),
        ("twin", "later"),
        ("twin", "never"),
    ]

    put("edited", report("visit", {"due": "2024-01-01"}))
    put("new", report("visit", {"due": "tomorrow"}))
    put("moved", report("birth", {"due": "2024-01-01"}))
    project.warehouse.delete("deleted")
    project.warehouse.delete("twin", database=SENTINEL)
    run(dbt)
    after = [
        ("moved", "birth", "due", "2024-01-01"),
        ("new", "visit", "due", "tomorrow"),
        ("twin", "visit", "due", "never"),
    ]
    assert project.rejected() == after
    assert project.warehouse.row("visit", "edited")["due"] == "2024-01-01"
    assert project.warehouse.rows("visit", "moved") == project.warehouse.rows("visit", "deleted") == []
    assert project.warehouse.row("birth", "moved")["due"] is None

    incremental = [project.warehouse.rows(model) for model in ("visit", "birth")]
    run(dbt, full_refresh=True)
    assert project.rejected() == after
    assert [project.warehouse.rows(model) for model in ("visit", "birth")] == incremental


def test_a_changed_file_makes_the_table_anew_and_an_unchanged_one_does_not(project: Project) -> None:
    def table() -> list[tuple[Any, ...]]:
        return project.query("select '{schema}.visit'::regclass::oid")

    project.form("visit", "{name: due, data_type: date}", form="home visit")
    project.warehouse.put("report", report("home visit", {"due": "soon", "then": "2024-01-01"}))
    project.run()
    first = table()
    project.run()
    assert table() == first
    assert project.rejected() == [("report", "visit", "due", "soon")]

    project.form(
        "visit", "{name: due, data_type: date, config: {meta: {path: fields.then}}}", form="home visit"
    )
    project.run()
    assert table() != first
    assert project.warehouse.row("visit", "report")["due"] == "2024-01-01"
    assert project.rejected() == []

    project.form("visit", "{name: due}", form="another")
    project.run()
    assert project.warehouse.rows("visit") == []


def test_a_form_that_ran_without_data_record_misses_nothing(project: Project) -> None:
    project.form("visit", "{name: due}")
    project.run()
    project.warehouse.put("late", report("visit", {"due": "x"}))
    dbt = project.dbt()
    assert dbt.run(select=["document_metadata", "visit"]).succeeded
    assert project.warehouse.rows("visit") == []
    run(dbt)
    assert project.warehouse.row("visit", "late")["due"] == "x"


def test_rejected_values_of_a_model_that_is_gone_are_forgotten(project: Project) -> None:
    project.form("visit", "{name: due, data_type: date}")
    project.warehouse.put("report", report("visit", {"due": "soon"}))
    project.run()
    assert project.rejected("visit")
    (project.forms / "visit.sql").unlink()
    (project.forms / "visit.yml").unlink()
    project.run()
    assert project.rejected() == []


def test_types_that_no_document_holds_and_names_that_every_form_has_are_refused_by_name(
    project: Project,
) -> None:
    project.form("visit", "{name: due, data_type: interval}")
    project.form("birth", "{name: reported, config: {meta: {path: fields.reported}}}")
    project.form("other", "{name: due}\n{name: reported, description: When.}")
    outcome = project.dbt().run()
    said = {failure.name: failure.message for failure in outcome.failures}
    assert said.keys() == {"visit", "birth"}
    assert "visit, column due: the data_type interval cannot be read" in said["visit"]
    assert "birth, column reported: this name has a meaning" in said["birth"]
    assert project.warehouse.rows("other") == []


def test_wrong_values_of_the_other_models_are_named_too(fresh: Warehouse, tmp_path: Path) -> None:
    project = project_of(fresh, tmp_path, others=True)
    fresh.put("amina", {"type": "person", "date_of_birth": "spring", "reported_date": "2024-01-01"})
    fresh.put("report", {"type": "data_record", "form": "f", "verified": "perhaps"})
    fresh.put("amina-info", {"type": "info", "initial_replication_date": "unknown"})
    project.run()
    assert project.rejected() == [
        ("amina", "person", "date_of_birth", "spring"),
        ("report", "data_record", "verified", "perhaps"),
    ]
    assert project.query("select form from {schema}.rejected_values where model = 'data_record'") == [("f",)]
