"""What belongs into which database, contact types that are configured, and values that are wrong."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import date

import msgspec
import pytest
from couchdb_fixture import CouchDBServer

from cht_sync.generator import GeneratorOptions, Kind, burst, plan
from cht_sync.generator.contents import CHT, SENTINEL, USERS, USERS_META, Content, content_of
from cht_sync.generator.hierarchy import CONFIGURED_TYPES, DISTRICT
from cht_sync.generator.origin import Document
from cht_sync.generator.steady import Reached, restore

DOCS = DISTRICT + 500
KINDS = {"medic": CHT, "medic-sentinel": SENTINEL, "medic-users-meta": USERS_META, "_users": USERS}


def created(content: Content, **options: object) -> list[Document]:
    changes = plan(GeneratorOptions(docs=DOCS, updates=0, deletes=0, **options), content)  # type: ignore[arg-type]
    return [change.document for change in changes]


@pytest.fixture(scope="module")
def story() -> dict[str, list[Document]]:
    """The documents of each database."""
    return {name: created(content) for name, content in KINDS.items()}


def test_the_name_of_a_database_says_what_belongs_into_it() -> None:
    assert {name: content_of(name) for name in KINDS} == KINDS
    assert content_of("test_4711") is CHT


def test_each_worker_is_a_user_with_settings_and_a_login(story: dict[str, list[Document]]) -> None:
    medic = {document["_id"]: document for document in story["medic"]}
    settings = [document for document in medic.values() if document["type"] == "user-settings"]
    assert [one["_id"] for one in settings] == [user["_id"] for user in story["_users"]]
    for of_medic, of_users in zip(settings, story["_users"], strict=True):
        assert of_users["type"] == "user"
        assert of_users.items() >= {(key, of_medic[key]) for key in ("name", "facility_id", "contact_id")}
        assert of_users["_id"] == f"org.couchdb.user:{of_users['name']}"
        assert medic[of_medic["contact_id"]]["name"] == of_medic["fullname"]
        assert medic[of_medic["facility_id"]]["contact"]["_id"] == of_medic["contact_id"]
        assert not {"password", "derived_key", "salt"} & of_users.keys()
    names = {one["name"] for one in settings}
    people = [document for document in medic.values() if document["type"] == "person"]
    assert {person["meta"]["created_by"] for person in people} <= names


def test_sentinel_knows_every_document_of_the_cht(story: dict[str, list[Document]]) -> None:
    infos = story["medic-sentinel"]
    assert [info["doc_id"] for info in infos] == [document["_id"] for document in story["medic"]]
    assert all(info["_id"] == f"{info['doc_id']}-info" and info["type"] == "info" for info in infos)
    unknown = sum(info["initial_replication_date"] == "unknown" for info in infos)
    assert 0 < unknown < len(infos) / 20


def test_each_user_has_telemetry_of_every_day_and_some_feedback(story: dict[str, list[Document]]) -> None:
    meta = story["medic-users-meta"]
    users = {user["name"] for user in story["_users"]}
    days = Counter(doc["metadata"]["user"] for doc in meta if doc["type"] == "telemetry")
    feedback = Counter(doc["meta"]["user"]["name"] for doc in meta if doc["type"] == "feedback")
    assert days.keys() == feedback.keys() == users
    assert (set(days.values()), set(feedback.values())) == ({30}, {2})
    assert len({document["_id"] for document in meta}) == len(meta)


def test_configured_contact_types_are_defined_by_the_settings() -> None:
    settings, *documents = created(CHT, configured_types=True)
    assert settings["_id"] == "settings"
    defined = {one["id"]: one.get("person", False) for one in settings["settings"]["contact_types"]}
    assert defined.keys() == set(CONFIGURED_TYPES.values())
    contacts = [document for document in documents if "parent" in document]
    assert {contact["type"] for contact in contacts} == {"contact"}
    for contact in contacts:
        assert ("patient_id" in contact) is defined[contact["contact_type"]]
    assert [doc["_id"] for doc in documents] == [doc["_id"] for doc in created(CHT)]


def test_a_few_dates_and_numbers_are_none(story: dict[str, list[Document]]) -> None:
    def is_date(text: str) -> bool:
        try:
            return bool(date.fromisoformat(text))
        except ValueError:
            return False

    reports = [doc["fields"] for doc in story["medic"] if doc["type"] == "data_record"]
    births = [doc["date_of_birth"] for doc in story["medic"] if doc["type"] == "person"]
    ages = [fields["patient_age_in_years"] for fields in reports]
    periods = [fields["lmp_date_8601"] for fields in reports if "lmp_date_8601" in fields]
    wrong = [sum(not is_date(text) for text in births), sum(not is_date(text) for text in periods)]
    wrong.append(sum(not age.isdecimal() for age in ages))
    assert min(wrong) > 0
    assert sum(wrong) < len(story["medic"]) / 50


@pytest.mark.parametrize("content", KINDS.values(), ids=KINDS)
def test_in_every_database_the_same_seed_gives_the_same_documents(content: Content) -> None:
    def digest(docs: int) -> list[str]:
        changes = plan(GeneratorOptions(docs=docs, seed=7), content)
        return [hashlib.sha256(msgspec.json.encode(change.document)).hexdigest() for change in changes]

    options = GeneratorOptions(docs=600, seed=7)
    assert digest(600) == digest(600)
    ids = [change.document_id for change in plan(options, content) if change.kind is Kind.CREATE]
    assert ids == [content.identify(options.origin, number) for number in range(content.count(600))]
    assert content.count(300) < len(ids)
    assert digest(300)[: content.count(300)] == digest(600)[: content.count(300)]


@pytest.mark.parametrize("content", KINDS.values(), ids=KINDS)
def test_in_every_database_an_edit_changes_its_document(content: Content) -> None:
    options = GeneratorOptions(docs=600, updates=1, deletes=0)
    documents = {change.document_id: change.document for change in plan(options, content)}
    for change in plan(options, content):
        if change.kind is Kind.CREATE:
            after = documents[change.document_id]
            assert after != change.document
            assert after["type"] == change.document["type"]


def test_users_are_accepted_by_couchdb_and_found_again(couchdb_server: CouchDBServer) -> None:
    client = couchdb_server.client()
    client.create_database("_users")
    options = GeneratorOptions(docs=500, seed=11)
    try:
        summary = burst(client, "_users", options, lambda _changes: None)
        assert summary.created == USERS.count(500) > 1
        assert restore(client, "_users", options.origin) == Reached(summary.created)
    finally:
        # The name cannot be another one, and the server is that of the whole session.
        client.delete_database("_users")
        client.close()
