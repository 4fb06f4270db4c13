"""What the generator plans: the same for the same seed, and shaped as the CHT shapes it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from datetime import date

import msgspec
import pytest

from cht_sync.errors import SettingsError
from cht_sync.generator import Change, GeneratorOptions, Kind, plan
from cht_sync.generator.hierarchy import DISTRICT
from cht_sync.generator.origin import Document

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
USER = re.compile(r"org\.couchdb\.user:chw_[0-9a-f]{8}")
LEVELS = ["district_hospital", "health_center", "clinic", "person"]


def encoded(options: GeneratorOptions) -> list[bytes]:
    return [msgspec.json.encode([change.kind, change.document]) for change in plan(options)]


def created(docs: int, **options: object) -> dict[str, Document]:
    changes = plan(GeneratorOptions(docs=docs, **options))  # type: ignore[arg-type]
    return {change.document_id: change.document for change in changes if change.kind is Kind.CREATE}


def by_kind(options: GeneratorOptions) -> dict[Kind, list[Change]]:
    changes: dict[Kind, list[Change]] = {kind: [] for kind in Kind}
    for change in plan(options):
        changes[change.kind].append(change)
    return changes


def chain(link: object) -> list[str]:
    """The ids of a lineage, from the nearest."""
    ids = []
    while link:
        assert isinstance(link, dict)
        assert set(link) <= {"_id", "parent"}
        ids.append(link["_id"])
        link = link.get("parent")
    return ids


def test_the_same_seed_and_count_give_the_same_bytes() -> None:
    options = GeneratorOptions(docs=400, seed=7)
    assert encoded(options) == encoded(options)


def test_the_bytes_do_not_change_with_time_machine_or_python_version() -> None:
    digest = hashlib.sha256(b"\n".join(encoded(GeneratorOptions(docs=400, seed=7)))).hexdigest()
    assert digest == "83870540ff100a32c92822ec5a19c2fd5cef9fdf9b87dc54abe13213d3d685a9"


def test_another_seed_gives_other_ids() -> None:
    assert not created(100, seed=1).keys() & created(100, seed=2).keys()


def test_another_base_date_moves_the_dates_and_keeps_the_ids() -> None:
    first, second = created(100), created(100, base_date=date(2020, 1, 1))
    assert list(first) == list(second)
    reported = [key for key in first if first[key]["type"] != "user-settings"]
    assert all(first[key]["reported_date"] > second[key]["reported_date"] for key in reported)


def test_a_small_run_is_the_beginning_of_a_large_one() -> None:
    assert list(created(500).values())[:200] == list(created(200).values())


def test_ids_are_lower_case_uuids_or_users_and_never_twice() -> None:
    changes = [change for change in plan(GeneratorOptions(docs=2000)) if change.kind is Kind.CREATE]
    assert len({change.document_id for change in changes}) == 2000
    for change in changes:
        form = USER if change.document["type"] == "user-settings" else UUID
        assert form.fullmatch(change.document_id)


def test_parents_come_before_children_and_chains_lead_to_the_district() -> None:
    seen: dict[str, Document] = {}
    for document_id, document in created(DISTRICT + 400).items():
        parents = chain(document.get("parent"))
        assert all(parent in seen for parent in parents)
        if document["type"] in LEVELS[1:3]:
            level = LEVELS.index(document["type"])
            assert [seen[parent]["type"] for parent in parents] == LEVELS[:level][::-1]
        seen[document_id] = document
    assert Counter(document["type"] for document in seen.values())["district_hospital"] == 2


def test_a_place_names_a_person_below_it_as_its_contact() -> None:
    documents = created(2000)
    places = [document for document in documents.values() if document["type"] in LEVELS[:3]]
    for place in places:
        contact, *above = chain(place["contact"])
        assert above == [place["_id"], *chain(place["parent"])]
        assert contact not in documents or chain(documents[contact]["parent"]) == above


def test_reports_of_four_forms_point_to_a_worker_and_a_patient() -> None:
    documents = created(2000)
    reports = [document for document in documents.values() if document["type"] == "data_record"]
    assert {report["form"] for report in reports} == {"pregnancy", "delivery", "assessment", "immunization"}
    for report in reports:
        worker, patient = documents[report["contact"]["_id"]], documents[report["fields"]["patient_uuid"]]
        assert chain(report["contact"])[1:] == chain(worker["parent"])
        assert report["from"] == worker["phone"]
        assert report["patient_id"] == report["fields"]["patient_id"] == patient["patient_id"]
        assert report["fields"]["patient_name"] == patient["name"]
        assert report["content_type"] == "xml"
        assert report["reported_date"] > patient["reported_date"]
        assert any(isinstance(value, dict) for value in report["fields"].values())


def test_a_delivery_follows_the_pregnancy_of_the_same_woman() -> None:
    reports = [document for document in created(2000).values() if document["type"] == "data_record"]
    pregnancies = {r["patient_id"]: r["reported_date"] for r in reports if r["form"] == "pregnancy"}
    deliveries = {r["patient_id"]: r["reported_date"] for r in reports if r["form"] == "delivery"}
    assert deliveries
    known = deliveries.keys() & pregnancies.keys()
    assert all(pregnancies[patient] < deliveries[patient] for patient in known)


def test_documents_are_about_a_kilobyte_and_hold_names_beyond_ascii() -> None:
    documents = created(2000)
    size = sum(len(msgspec.json.encode(document)) for document in documents.values()) / len(documents)
    assert 1000 <= size <= 1300
    assert sum(not document.get("name", "").isascii() for document in documents.values()) > 100


def test_times_are_whole_milliseconds() -> None:
    documents = [document for document in created(500).values() if document["type"] != "user-settings"]
    assert all(type(document["reported_date"]) is int for document in documents)


def test_shares_decide_how_many_documents_are_edited_and_deleted() -> None:
    changes = by_kind(GeneratorOptions(docs=2000, updates=0.25, deletes=0.1))
    assert {kind: len(found) for kind, found in changes.items()} == {
        Kind.CREATE: 2000,
        Kind.UPDATE: 500,
        Kind.DELETE: 200,
    }


def test_no_document_is_edited_twice_or_edited_and_deleted() -> None:
    changes = by_kind(GeneratorOptions(docs=2000, updates=0.5, deletes=0.3))
    touched = [change.document_id for change in changes[Kind.UPDATE] + changes[Kind.DELETE]]
    assert len(touched) == len(set(touched)) == 1600


def test_an_edit_changes_a_document_but_not_what_it_is() -> None:
    documents = created(2000)
    for change in by_kind(GeneratorOptions(docs=2000))[Kind.UPDATE]:
        before = documents[change.document_id]
        assert change.document != before
        assert [change.document.get(key) for key in ("type", "reported_date")] == [
            before.get(key) for key in ("type", "reported_date")
        ]


def test_places_and_their_contacts_are_never_deleted() -> None:
    documents = created(2000)
    contacts = {chain(document["contact"])[0] for document in documents.values() if "contact" in document}
    deleted = by_kind(GeneratorOptions(docs=2000, updates=0, deletes=1))[Kind.DELETE]
    assert {documents[change.document_id]["type"] for change in deleted} == {"person", "data_record"}
    assert not contacts & {change.document_id for change in deleted}
    assert all(change.document == {"_id": change.document_id, "_deleted": True} for change in deleted)


def test_nothing_asked_for_is_nothing_planned() -> None:
    assert list(plan(GeneratorOptions(docs=0))) == []


def test_impossible_options_are_named_one_by_one() -> None:
    with pytest.raises(SettingsError) as caught:
        GeneratorOptions(docs=-1, rate=0, updates=0.8, deletes=0.3, batch_size=0)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "docs",
        "rate",
        "updates and deletes",
        "batch_size",
    ]
