from __future__ import annotations

from typing import Any

from cht_sync.transform.runner import DbtRunner

from .oracle_documents import LONG
from .warehouse import MEDIC, MODELS, SENTINEL, Warehouse, run

PERSON = {
    "type": "person",
    "name": "Amina",
    "sex": "female",
    "date_of_birth": "2000-02-29",
    "patient_id": "12345",
    "phone": "+254700000001",
    "reported_date": 1544031155715,
    "parent": {"_id": "household", "parent": {"_id": "area"}},
}
REPORT = {
    "type": "data_record",
    "form": "pregnancy",
    "reported_date": "1544031155000",
    "from": "+254700000002",
    "contact": {"_id": "chw", "parent": {"_id": "area", "parent": {"_id": "district"}}},
    "fields": {"patient_id": "12345", "patient_uuid": "amina", "danger_signs": {"fever": "yes"}},
}


def test_a_person_appears_with_its_fields(warehouse: Warehouse, dbt: DbtRunner) -> None:
    warehouse.put("amina", PERSON)
    run(dbt)
    assert (
        warehouse.row("person", "amina").items()
        >= {
            "source": "couch/medic",
            "name": "Amina",
            "sex": "female",
            "date_of_birth": "2000-02-29",
            "patient_id": "12345",
            "phone": "+254700000001",
            "parent_uuid": "household",
            "contact_type": "person",
            "reported": "2018-12-05T17:32:35.715+00:00",
        }.items()
    )
    assert warehouse.row("contact", "amina")["contact_type"] == "person"
    assert warehouse.rows("place", "amina") == []


def test_a_report_appears_with_its_answers_and_who_sent_it(warehouse: Warehouse, dbt: DbtRunner) -> None:
    warehouse.put("report", REPORT)
    run(dbt)
    assert (
        warehouse.row("data_record", "report").items()
        >= {
            "form": "pregnancy",
            "reported": "2018-12-05T17:32:35+00:00",
            "contact_uuid": "chw",
            "parent_uuid": "area",
            "grandparent_uuid": "district",
            "patient_id": "12345",
            "patient_uuid": "amina",
            "from_phone": "+254700000002",
            "fields": REPORT["fields"],
        }.items()
    )
    assert warehouse.rows("contact", "report") == []


def test_every_contact_is_a_person_or_a_place(warehouse: Warehouse, dbt: DbtRunner) -> None:
    kinds: list[tuple[dict[str, Any], str, str]] = [
        ({"type": "clinic"}, "place", "clinic"),
        ({"type": "district_hospital", "parent": ""}, "place", "district_hospital"),
        ({"type": "contact", "contact_type": "village"}, "place", "village"),
        ({"type": "contact", "contact_type": "person"}, "person", "person"),
        ({"type": "contact"}, "place", "contact"),
    ]
    for doc, _model, contact_type in kinds:
        warehouse.put(f"kind-{contact_type}", doc)
    run(dbt)
    for _doc, model, contact_type in kinds:
        doc_id = f"kind-{contact_type}"
        assert warehouse.row("contact", doc_id)["contact_type"] == contact_type
        assert [name for name in ("person", "place") if warehouse.rows(name, doc_id)] == [model]


def test_an_updated_person_changes(warehouse: Warehouse, dbt: DbtRunner) -> None:
    warehouse.put("updated", PERSON)
    run(dbt)
    warehouse.put("updated", {**PERSON, "name": "Amina N."})
    run(dbt)
    assert warehouse.row("person", "updated")["name"] == "Amina N."


def test_a_deleted_person_leaves_the_models_and_comes_back(warehouse: Warehouse, dbt: DbtRunner) -> None:
    warehouse.put("deleted", PERSON)
    run(dbt)
    warehouse.delete("deleted")
    run(dbt)
    assert warehouse.rows("person", "deleted") == warehouse.rows("contact", "deleted") == []
    assert warehouse.row("document_metadata", "deleted")["_deleted"] is True
    warehouse.put("deleted", PERSON)
    run(dbt)
    assert warehouse.row("person", "deleted")["name"] == "Amina"


def test_a_document_that_becomes_something_else_moves(warehouse: Warehouse, dbt: DbtRunner) -> None:
    warehouse.put("moved", PERSON)
    run(dbt)
    warehouse.put("moved", REPORT)
    run(dbt)
    assert warehouse.rows("person", "moved") == warehouse.rows("contact", "moved") == []
    assert warehouse.row("data_record", "moved")["form"] == "pregnancy"


def test_equal_ids_of_two_databases_are_two_rows_that_live_on_their_own(
    warehouse: Warehouse, dbt: DbtRunner
) -> None:
    warehouse.put("twin", {**PERSON, "name": "One"}, database=MEDIC)
    warehouse.put("twin", {**PERSON, "name": "Two"}, database=SENTINEL)
    run(dbt)
    assert [row["name"] for row in warehouse.rows("person", "twin")] == ["One", "Two"]
    warehouse.put("twin", {**PERSON, "name": "Three"}, database=SENTINEL)
    run(dbt)
    assert [row["name"] for row in warehouse.rows("person", "twin")] == ["One", "Three"]
    warehouse.delete("twin", database=MEDIC)
    run(dbt)
    assert [row["source"] for row in warehouse.rows("person", "twin")] == [f"couch/{SENTINEL}"]


def test_a_document_whose_source_gets_a_name_leaves_no_row_behind(
    warehouse: Warehouse, dbt: DbtRunner
) -> None:
    warehouse.put("named", PERSON, source=None)
    run(dbt)
    warehouse.put("named", {**PERSON, "name": "Named"}, source="couch/medic")
    run(dbt)
    assert warehouse.row("person", "named")["source"] == "couch/medic"
    assert warehouse.row("document_metadata", "named")["source"] == "couch/medic"


def test_a_document_of_any_shape_is_accepted(warehouse: Warehouse, dbt: DbtRunner) -> None:
    values: list[Any] = [None, [], "text", 7, {}, {"type": None}, {"type": {"a": 1}}]
    shapes = {f"shape-{doc}": doc for doc in values}
    for doc_id, doc in shapes.items():
        warehouse.put(doc_id, doc)
    run(dbt)
    for doc_id in shapes:
        assert warehouse.row("document_metadata", doc_id)["_deleted"] is False
        assert all(not warehouse.rows(model, doc_id) for model in MODELS[1:])


def test_a_date_that_is_none_costs_its_field_only(warehouse: Warehouse, dbt: DbtRunner) -> None:
    dates: list[tuple[Any, str | None]] = [
        ("2001/01/27", "2001-01-27"),
        ("2001-1-7", "2001-01-07"),
        ("2019-06-13T00:00:00.000Z", "2019-06-13"),
        ("2023-02-29", None),
        ("2023-13-01", None),
        ("2023-00-10", None),
        ("2023-01-00", None),
        ("0000-01-01", None),
        ("2001-01-270", None),
        ("27/01/2001", None),
        ("yesterday", None),
        ("", None),
        ({"year": 2001}, None),
        (20010127, None),
    ]
    for number, (written, _) in enumerate(dates):
        warehouse.put(f"born-{number}", {**PERSON, "date_of_birth": written})
    run(dbt)
    people = [warehouse.row("person", f"born-{number}") for number in range(len(dates))]
    assert [person["date_of_birth"] for person in people] == [date for _, date in dates]
    assert {person["name"] for person in people} == {"Amina"}


def test_a_moment_is_read_in_every_form_that_apps_write(warehouse: Warehouse, dbt: DbtRunner) -> None:
    moments: list[tuple[Any, str | None]] = [
        (1544031155715, "2018-12-05T17:32:35.715+00:00"),
        (1544031155715.0, "2018-12-05T17:32:35.715+00:00"),
        ("1544031155715", "2018-12-05T17:32:35.715+00:00"),
        (-1000, "1969-12-31T23:59:59+00:00"),
        ("2018-12-05T17:32:35.715Z", "2018-12-05T17:32:35.715+00:00"),
        ("2018-12-05T20:32:35+03:00", "2018-12-05T17:32:35+00:00"),
        ("2018-12-05T20:32+0300", "2018-12-05T17:32:00+00:00"),
        ("2018-12-05 17:32:35", "2018-12-05T17:32:35+00:00"),
        ("2018-12-05", "2018-12-05T00:00:00+00:00"),
        ("2018-02-30T10:00:00Z", None),
        ("2018-12-05T25:00:00Z", None),
        ("2018-12-05T20:00:00+99:00", None),
        ("123456789012345678901234567890", None),
        ("Thu Sep 06 2018", None),
        (True, None),
        ("2018-00-01", None),
        (None, None),
        (f"2018-12-05T17:32:35.{'5' * 30}Z", "2018-12-05T17:32:35.555556+00:00"),
        (f"2018-12-05T17:32:35.{'5' * 200}Z", None),
        (f"2018-12-05 17:32:35.{'5' * 200}", None),
        (f"1.{'0' * 29}1", "1970-01-01T00:00:00.001+00:00"),
        (f"0.{'0' * 400}1", None),
    ]
    for number, (written, _) in enumerate(moments):
        warehouse.put(f"moment-{number}", {**REPORT, "reported_date": written})
    run(dbt)
    read = [warehouse.row("data_record", f"moment-{number}")["reported"] for number in range(len(moments))]
    assert read == [moment for _, moment in moments]


def test_a_number_of_any_length_costs_its_field_only(warehouse: Warehouse, dbt: DbtRunner) -> None:
    numbers: list[tuple[Any, int | None, float | None]] = [
        (12, 12, 12),
        (f"12.{'0' * 100}", 12, 12),
        (f"12.{'0' * 20_000}", None, None),
        ("9" * 18, 10**18 - 1, 10**18 - 1),
        ("9" * 19, None, 10**19 - 1),
        ("9" * 20_000, None, None),
        (f"1.{'1' * 20_000}", None, None),
        ("1e2", None, 100),
        ("1e99999", None, None),
        ("1e-99999", None, None),
        (" " * 20_000 + "7", 7, 7),
    ]
    for number, (written, _, _) in enumerate(numbers):
        measured = {"min": written, "count": written}
        warehouse.put(f"number-{number}", {"type": "telemetry", "metrics": {"boot_time": measured}})
    run(dbt)
    rows = [warehouse.row("telemetry", f"number-{number}") for number in range(len(numbers))]
    assert [row["boot_time_count"] for row in rows] == [integer for _, integer, _ in numbers]
    assert [row["boot_time_min"] for row in rows] == [numeric for _, _, numeric in numbers]


def test_a_place_that_no_globe_has_costs_its_field_and_is_named(warehouse: Warehouse, dbt: DbtRunner) -> None:
    places: list[tuple[Any, Any, float | None, float | None]] = [
        (-1.2864, 36.8172, -1.2864, 36.8172),
        ("-1.2864", " 36.8172 ", -1.2864, 36.8172),
        (90, -180, 90, -180),
        (90.0001, 180.0001, None, None),
        ("1°17' S", "36,8172", None, None),
        (10**30, "1e400", None, None),
        ("1e-400", f"0.{'0' * 90}1", 0, 0),
        (None, "", None, None),
        ({}, True, None, None),
    ]
    for number, (latitude, longitude, *_) in enumerate(places):
        answer = {"latitude": latitude, "longitude": longitude, "accuracy": 20, "heading": None}
        warehouse.put(f"place-{number}", {**REPORT, "geolocation": answer})
    refused = {"code": 1, "message": "User denied Geolocation"}
    warehouse.put("place-refused", {**REPORT, "geolocation": refused})
    run(dbt)
    rows = [warehouse.row("data_record", f"place-{number}") for number in range(len(places))]
    assert [(row["latitude"], row["longitude"]) for row in rows] == [tuple(place[2:]) for place in places]
    assert {row["location_accuracy"] for row in rows} == {20}
    row = warehouse.row("data_record", "place-refused")
    assert (row["latitude"], row["longitude"], row["location_accuracy"]) == (None, None, None)
    with warehouse.connection as connection, connection.cursor() as cursor:
        cursor.execute("select uuid, path, value from dbt.rejected_values where uuid ~ '^place-[0-9]'")
        found = cursor.fetchall()
    assert set(found) == {
        ("place-3", "geolocation.latitude", "90.0001"),
        ("place-3", "geolocation.longitude", "180.0001"),
        ("place-4", "geolocation.latitude", "1°17' S"),
        ("place-4", "geolocation.longitude", "36,8172"),
        ("place-5", "geolocation.latitude", str(10**30)),
        ("place-5", "geolocation.longitude", "1e400"),
        ("place-8", "geolocation.latitude", "{}"),
        ("place-8", "geolocation.longitude", "true"),
    }


def test_a_text_too_long_for_an_index_costs_its_field_only(warehouse: Warehouse, dbt: DbtRunner) -> None:
    place, facility = {"_id": LONG, "parent": {"_id": LONG, "parent": {"_id": LONG}}}, [LONG]
    documents: dict[str, dict[str, Any]] = {
        "person": {**PERSON, "patient_id": LONG, "parent": place},
        "place": {
            "type": "clinic",
            "contact_type": LONG,
            "place_id": LONG,
            "parent": place,
            "contact": place,
        },
        "configured": {"type": "contact", "contact_type": LONG},
        "data_record": {
            **REPORT,
            "form": LONG,
            "contact": place,
            "fields": {"patient_id": LONG, "patient_uuid": LONG},
        },
        "user": {"type": "user-settings", "contact_id": LONG, "facility_id": facility},
        "telemetry": {
            "type": "telemetry",
            "metadata": {"user": LONG, "deviceId": LONG},
            "device": {"deviceInfo": {"software": {"androidVersion": LONG}}},
        },
        "feedback": {"type": "feedback", "meta": {"user": {"name": LONG}}},
        "sentinel_info": {"type": "info", "doc_id": LONG},
    }
    for name, doc in documents.items():
        warehouse.put(f"long-{name}-info", doc)
    run(dbt)
    person = warehouse.row("person", "long-person-info")
    assert (person["name"], person["parent_uuid"], person["patient_id"]) == ("Amina", None, None)
    assert warehouse.rows("patient", "long-person-info") == []
    assert warehouse.row("place", "long-configured-info")["contact_type"] == "contact"
    assert warehouse.row("sentinel_info", "long-sentinel_info-info")["document_uuid"] == "long-sentinel_info"
    user = warehouse.row("user", "long-user-info")
    assert (user["contact_uuid"], user["facility_uuid"]) == (None, None)
    with warehouse.connection as connection, connection.cursor() as cursor:
        cursor.execute("""
            select model, column_name, uuid, path, value, data_type from dbt.rejected_values
            where uuid like 'long-%-info'
        """)
        found = cursor.fetchall()
    rejected = [(model, column) for model, column, *_ in found]
    assert sorted(rejected) == [
        *(("contact", "contact_type"), ("contact", "contact_type"), ("contact", "parent_uuid")),
        ("contact", "parent_uuid"),
        *(("data_record", column) for column in ("contact_uuid", "form", "grandparent_uuid")),
        *(("data_record", column) for column in ("parent_uuid", "patient_id", "patient_uuid")),
        ("feedback", "user_name"),
        *(("person", "parent_uuid"), ("person", "patient_id")),
        *(
            ("place", column)
            for column in ("contact_type", "contact_type", "contact_uuid", "parent_uuid", "place_id")
        ),
        ("sentinel_info", "document_uuid"),
        *(("telemetry", "device_id"), ("telemetry", "user_name"), ("telemetry_devices", "android_version")),
        *(("user", "contact_uuid"), ("user", "facility_uuid")),
    ]
    assert ("person", "patient_id", "long-person-info", "patient_id", LONG[:200], "text") in found


def test_a_key_of_a_thousand_bytes_is_kept(warehouse: Warehouse, dbt: DbtRunner) -> None:
    warehouse.put("key-1000", {**PERSON, "patient_id": "é" * 500})
    warehouse.put("key-1001", {**PERSON, "patient_id": "é" * 500 + "e"})
    run(dbt)
    read = [warehouse.row("person", name)["patient_id"] for name in ("key-1000", "key-1001")]
    assert read == ["é" * 500, None]
