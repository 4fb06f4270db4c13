"""Packages with the constructs of both generations of cht-pipeline run as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from postgres_fixture import PostgresServer
from psycopg2 import sql

from .generations import VIEW, Generation, generation
from .warehouse import MEDIC, SENTINEL

SOURCES = pytest.mark.parametrize("model_table", [VIEW, MEDIC], scope="module")
PERSON = {
    "type": "person",
    "name": "Amina",
    "sex": "female",
    "patient_id": "7",
    "reported_date": 1544031155715,
}
VISIT = {"type": "data_record", "form": "visit", "contact": {"_id": "chw"}, "fields": {"weight": "3.5"}}
SETTINGS = {"settings": {"contact_types": [{"id": "person", "person": True}, {"id": "clinic"}]}}


@pytest.fixture(scope="module")
def of_2023(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory, model_table: str
) -> Iterator[Generation]:
    folder = tmp_path_factory.mktemp("of-2023")
    with generation(
        postgres_server, folder, "generation_2023", schema="dbt", model_table=model_table
    ) as made:
        yield made


@pytest.fixture(scope="module")
def of_2x(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory, model_table: str
) -> Iterator[Generation]:
    """Its models are beside the documents: what it says of foreign keys allows nothing else."""
    folder = tmp_path_factory.mktemp("of-2x")
    with generation(postgres_server, folder, "generation_2x", schema="v1", model_table=model_table) as made:
        yield made


@SOURCES
def test_a_package_of_2023_gets_a_row_for_each_revision_once(of_2023: Generation) -> None:
    documents = of_2023.warehouse
    documents.put("amina", PERSON)
    documents.put("report", VISIT)
    of_2023.run()
    documents.put("amina", {**PERSON, "sex": "male"})
    documents.put("bahati", {**PERSON, "patient_id": "8"})
    of_2023.run()
    of_2023.run()
    assert [
        (row["_id"], row["sex"]) for row in sorted(of_2023.rows("patient"), key=lambda row: row["@timestamp"])
    ] == [
        ("amina", "female"),
        ("amina", "male"),
        ("bahati", "female"),
    ]
    assert [row["form"] for row in of_2023.rows("report")] == ["visit"]
    # Tables and views show the documents as they are now, whatever has been before.
    assert of_2023.column("worker", "_id", "doc")["amina"]["sex"] == "male"
    assert {row["_id"] for row in of_2023.rows("couchdb")} == {"amina", "bahati", "report"}
    assert [row["uuid"] for row in of_2023.rows("report_place")] == ["report"]

    documents.delete("bahati")
    of_2023.run()
    (deleted,) = (row for row in of_2023.rows("patient") if row["_deleted"])
    assert deleted["_id"] == "bahati"
    of_2023.run(full_refresh=True)
    assert of_2023.column("patient", "_id", "_deleted") == {"amina": False, "bahati": True}


@SOURCES
def test_a_package_of_2023_misses_no_transaction_that_ends_late(of_2023: Generation) -> None:
    options = of_2023.options
    password = of_2023.warehouse.connection.info.password
    of_2023.run()
    with closing(psycopg2.connect(of_2023.warehouse.connection.dsn, password=password)) as slow:
        slow.cursor().execute(
            sql.SQL(
                """insert into {} (_id, _rev, doc) values ('slow', '1-a', '{{"type": "person"}}')"""
            ).format(sql.Identifier(options.raw_schema, MEDIC))
        )
        of_2023.run()
        slow.commit()
    of_2023.warehouse.put("quick", PERSON)
    of_2023.run()
    assert {"slow", "quick"} <= {row["_id"] for row in of_2023.rows("patient")}


@SOURCES
def test_tables_of_2x_follow_inserts_updates_deletions_and_moves(of_2x: Generation) -> None:
    documents = of_2x.warehouse
    elsewhere = SENTINEL if of_2x.options.model_table == VIEW else MEDIC
    documents.put("settings", SETTINGS)
    documents.put("home", {"type": "clinic", "name": "Home"})
    for name in ("amina", "bahati", "chiku"):
        documents.put(name, {**PERSON, "name": name, "parent": {"_id": "home"}})
    documents.put("report", VISIT)
    documents.put(
        "phone",
        {"type": "telemetry", "metadata": {"year": 2024, "month": 3, "user": "a"}},
        database=elsewhere,
    )
    outcome = of_2x.run()
    assert {node.name for node in outcome.nodes if node.kind == "model"} >= {"contact", "visit", "month_of"}
    assert of_2x.column("document_metadata", "uuid", "dbname")["phone"] == elsewhere
    assert of_2x.column("contact", "uuid", "parent_uuid") == {
        "home": None,
        "amina": "home",
        "bahati": "home",
        "chiku": "home",
    }
    assert set(of_2x.column("person", "uuid", "sex")) == {"amina", "bahati", "chiku"}
    assert of_2x.column("visit", "uuid", "weight") == {"report": 3.5}
    assert of_2x.column("telemetry", "uuid", "period_start") == {"phone": "2024-03-01T00:00:00+00:00"}
    assert of_2x.column("telemetry_of_database", "dbname", "documents") == {elsewhere: 1}
    assert of_2x.column("forms_by_worker", "contact_uuid", "visit") == {"chw": 1}

    documents.put("amina", {**PERSON, "name": "Amina N."})
    documents.put("bahati", {**VISIT, "form": "death"})
    documents.delete("chiku")
    documents.put("new", {**PERSON, "name": "New"})
    documents.put("report", {**VISIT, "fields": {"weight": "4"}})
    documents.delete("phone", database=elsewhere)
    of_2x.run()
    assert of_2x.column("contact", "uuid", "name") == {"home": "Home", "amina": "Amina N.", "new": "New"}
    assert set(of_2x.column("person", "uuid", "sex")) == {"amina", "new"}
    assert of_2x.column("visit", "uuid", "weight") == {"report": 4}
    assert of_2x.rows("telemetry") == of_2x.rows("telemetry_of_database") == []
    assert set(of_2x.column("data_record", "uuid", "form")) == {"report", "bahati"}
    assert of_2x.rows("forms_by_worker")[0].items() >= {"visit": 1, "death": 1, "total": 2}.items()


@SOURCES
def test_tables_of_2x_are_those_of_a_full_refresh(of_2x: Generation) -> None:
    tables = ("document_metadata", "contact", "contact_type", "person", "data_record", "visit", "telemetry")
    for name in ("stays", "goes"):
        of_2x.warehouse.put(name, {**PERSON, "name": name})
    of_2x.warehouse.put("report-of-it", VISIT)
    of_2x.run()
    before = {table: of_2x.rows(table) for table in tables}
    of_2x.run(full_refresh=True)
    assert {table: of_2x.rows(table) for table in tables} == before
    # The foreign keys, by which deletions reach the other tables, are there again.
    of_2x.warehouse.delete("goes")
    of_2x.run()
    assert "stays" in of_2x.column("person", "uuid", "sex")
    assert "goes" not in of_2x.column("person", "uuid", "sex")


@SOURCES
def test_tests_of_a_package_pass_those_of_units_and_of_its_dependencies_too(
    of_2023: Generation, of_2x: Generation
) -> None:
    for made in (of_2023, of_2x):
        made.warehouse.put("settings", SETTINGS)
        made.warehouse.put("tested", PERSON)
        made.warehouse.put("tested-report", VISIT)
        made.run()
        outcome = made.dbt.test()
        assert outcome.succeeded, outcome.failures
    names = {node.name for node in outcome.nodes}
    assert {"contacts_are_complete", "a_batch_ends_where_a_stamp_ends"} <= names
    assert any(name.startswith("village_utils_at_most_rows_of") for name in names)


@SOURCES
def test_a_tag_selects_models_of_2x(of_2x: Generation) -> None:
    chosen = of_2x.dbt.run(select=["tag:user"])
    assert [node.name for node in chosen.nodes if node.kind == "model"] == ["telemetry"]
