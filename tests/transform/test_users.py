"""Users, what the app writes of itself, and what Sentinel knows; also where their databases are absent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cht_sync.transform.runner import DbtRunner

from .warehouse import MEDIC, SENTINEL, Warehouse, run

SELECTED = ("document_metadata", "models/users", "models/sentinel")
USER = {"type": "user", "name": "ada", "roles": ["chw"], "facility_id": "area"}
SETTINGS = {**USER, "type": "user-settings", "contact_id": "ada", "language": "sw", "fullname": "Ada"}


@pytest.fixture(scope="module")
def dbt(warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> DbtRunner:
    """Runs the models of users and of Sentinel."""
    work = tmp_path_factory.mktemp("users")
    return DbtRunner(replace(warehouse.options, selectors=SELECTED, work_folder=work))


def test_a_user_is_one_row_that_follows_both_documents(warehouse: Warehouse, dbt: DbtRunner) -> None:
    uuid = "org.couchdb.user:ada"
    warehouse.put(uuid, USER, database=SENTINEL)
    run(dbt)
    assert warehouse.row("user", uuid)["source"] == "couch/medic-sentinel"
    warehouse.put(uuid, SETTINGS, database=MEDIC)
    run(dbt)
    assert (
        warehouse.row("user", uuid).items()
        >= {
            "user_id": uuid,
            "source": "couch/medic",
            "name": "ada",
            "full_name": "Ada",
            "contact_uuid": "ada",
            "facility_uuid": "area",
            "language": "sw",
            "roles": '["chw"]',
            "has_login": True,
        }.items()
    )
    warehouse.delete(uuid, database=SENTINEL)
    run(dbt)
    assert warehouse.row("user", uuid)["has_login"] is False
    warehouse.delete(uuid, database=MEDIC)
    run(dbt)
    assert warehouse.rows("user", uuid) == []


def test_telemetry_feedback_and_sentinels_information_leave_with_their_documents(
    warehouse: Warehouse, dbt: DbtRunner
) -> None:
    documents = {
        "telemetry": {
            "type": "telemetry",
            "metadata": {"year": 2024, "month": 3, "day": 5, "user": "ada", "deviceId": "d"},
            "metrics": {"boot_time": {"min": 3, "max": "long"}},
            "device": {"deviceInfo": {"software": {"androidVersion": "13"}}},
        },
        "feedback": {"type": "feedback", "meta": {"user": {"name": "ada"}}, "info": {"message": "broken"}},
        "sentinel_info": {"type": "info", "doc_id": "ada", "transitions": {"update_clinics": {"ok": True}}},
    }
    for model, document in documents.items():
        warehouse.put(f"a-{model}", document, database=SENTINEL)
    run(dbt)
    telemetry = warehouse.row("telemetry", "a-telemetry")
    assert telemetry["period_start"] == "2024-03-05T00:00:00+00:00"
    assert (telemetry["user_name"], telemetry["device_id"]) == ("ada", "d")
    assert (telemetry["boot_time_min"], telemetry["boot_time_max"]) == (3, None)
    assert telemetry["metrics"] == {"boot_time": {"min": 3, "max": "long"}}
    assert warehouse.row("telemetry_devices", "a-telemetry")["android_version"] == "13"
    assert warehouse.row("feedback", "a-feedback")["message"] == "broken"
    information = warehouse.row("sentinel_info", "a-sentinel_info")
    assert (information["document_uuid"], information["initial_replication_date"]) == ("ada", None)
    assert information["transitions"] == {"update_clinics": {"ok": True}}

    for model in documents:
        warehouse.delete(f"a-{model}", database=SENTINEL)
    run(dbt)
    for model in (*documents, "telemetry_devices"):
        assert not [row for row in warehouse.rows(model) if row["uuid"].startswith("a-")]
