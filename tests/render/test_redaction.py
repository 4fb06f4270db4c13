"""Fields named in the settings are removed or hashed by the rendered filters of both engines."""

from __future__ import annotations

import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cht_sync import render
from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.pipeline.config import Pipeline
from cht_sync.pipeline.config import load as load_pipeline
from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import PluginContext
from cht_sync.settings import Settings, load

SECRET = "k" * 20
ENGINES = ("native", "logstash")


def settings(**given: str) -> Settings:
    environ = {"COUCHDB_DBS": "medic", "REDACT_HASH_SECRET": SECRET, "PGRST_JWT_SECRET": "x" * 32, **given}
    return load(Environment.LOCAL, home=Path("nowhere"), environ=environ)


def pipeline(engine: str, **given: str) -> Pipeline:
    chosen = settings(**given)
    text = render.render(chosen, engine=engine)["pipeline/medic.conf"]
    return load_pipeline(
        text,
        {**render.variables(chosen), "POSTGREST_TOKEN": "x", "COUCHDB_PASSWORD": "x"},
        PluginContext("medic", Path()),
    )


def event(document: dict[str, Any] | str, action: str = "update") -> Event:
    raw = document if isinstance(document, str) else json.dumps(document)
    known = {"_id": "a", "_rev": "1-x"}
    return Event({"doc": RawDocument(raw.encode(), known)}, {"_id": "a", "action": action})


def redacted(engine: str, document: dict[str, Any] | str, **given: str) -> Any:
    (after,) = pipeline(engine, **given).filter([event(document)])
    row = json.loads(after.to_json())
    assert (row["_id"], row["_rev"]) == ("a", "1-x")
    return row["doc"]


def hashed(text: str) -> str:
    return hmac.digest(SECRET.encode(), text.encode(), "sha256").hex()


@pytest.mark.parametrize("engine", ENGINES)
def test_removed_fields_are_gone_at_any_depth_and_nothing_else_is(engine: str) -> None:
    document = {
        "_id": "a",
        "name": "Achieng",
        "contact": {"phone": "+254", "parent": {"name": "x", "n": 1}},
        "list": [{"phone": "1"}, {"phone": "2"}],
    }
    assert redacted(
        engine, document, REDACT_FIELDS="name contact.phone,contact.parent.name list.1.phone"
    ) == {
        "_id": "a",
        "contact": {"parent": {"n": 1}},
        "list": [{"phone": "1"}, {}],
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_hashed_fields_can_be_joined_on_but_not_read(engine: str) -> None:
    document = {"id": "p-1", "fields": {"patient": "p-1", "others": ["p-1", "p-2"], "age": 5}}
    paths = "id fields.patient fields.others fields.age"
    assert redacted(engine, document, REDACT_HASH_FIELDS=paths) == {
        "id": hashed("p-1"),
        "fields": {"patient": hashed("p-1"), "others": [hashed("p-1"), hashed("p-2")], "age": hashed("5")},
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_a_document_without_the_fields_stays_as_it_is(engine: str) -> None:
    document = {"_id": "a", "contact": "a text", "n": 1}
    given = {"REDACT_FIELDS": "name contact.phone", "REDACT_HASH_FIELDS": "id contact.id"}
    assert redacted(engine, document, **given) == document


@pytest.mark.parametrize("engine", ENGINES)
def test_numbers_keep_every_digit(engine: str) -> None:
    raw = '{"name":"x","n":12345678901234567890.123456789,"big":1000000000000000000000001}'
    (after,) = pipeline(engine, REDACT_FIELDS="name").filter([event(raw)])
    assert raw.replace('"name":"x",', "").encode() in after.to_json()


def test_the_filters_of_the_documentation_do_the_same() -> None:
    document = (Path(__file__).parents[2] / "docs" / "redaction.md").read_text()
    (config,) = re.findall(r"^```conf\n(.*?)^```$", document, re.DOTALL | re.MULTILINE)
    filters = load_pipeline(config, {"REDACT_HASH_SECRET": SECRET}, PluginContext("medic", Path()))
    people = [
        event({"_id": "a", "name": "x", "phone": "1", "contact": {"phone": "2"}, "patient_id": "p", "n": 1}),
        event('{"name":"x","n":1e99999999999999999999}'),
    ]
    first, second = filters.filter(people)
    assert first.get("doc") == {"_id": "a", "contact": {}, "patient_id": hashed("p"), "n": 1}
    assert second.get("doc") == {"withheld": "redaction failed"}


def test_a_tombstone_is_redacted_as_well() -> None:
    tombstone = event({"_id": "a", "_deleted": True, "name": "Achieng"}, "delete")
    (after,) = pipeline("native", REDACT_FIELDS="name").filter([tombstone])
    assert after.get("doc") == {"_id": "a", "_deleted": True}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "given", [{"REDACT_FIELDS": "name"}, {"REDACT_HASH_FIELDS": "name"}], ids=["removed", "hashed"]
)
@pytest.mark.parametrize("inside", ["1e99999999999999999999", "[" * 50_000 + "]" * 50_000])
def test_a_document_that_cannot_be_redacted_is_withheld(
    engine: str, given: dict[str, str], inside: str
) -> None:
    document = f'{{"_id":"a","name":"Achieng","n":{inside}}}'
    assert redacted(engine, document, **given) == {"_id": "a", "withheld": "redaction failed"}


def test_without_redaction_no_document_is_looked_into() -> None:
    (after,) = pipeline("native").filter([event({"_id": "a", "name": "x"})])
    assert isinstance(after.fields["doc"], RawDocument)


@pytest.mark.parametrize("engine", ENGINES)
def test_without_redaction_the_configuration_is_the_same_as_before_there_was_any(engine: str) -> None:
    text = render.render(settings(), engine=engine)["pipeline/medic.conf"]
    assert "fingerprint" not in text
    assert "remove_field" not in text
    assert "keep_rejected" not in text


@pytest.mark.parametrize("engine", ENGINES)
def test_the_secret_is_no_part_of_the_configuration(engine: str) -> None:
    text = render.render(settings(REDACT_HASH_FIELDS="name"), engine=engine)["pipeline/medic.conf"]
    assert SECRET not in text
    assert 'key => "${REDACT_HASH_SECRET}"' in text


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"REDACT_FIELDS": "_id"}, 'contains "_id", without which a document cannot be known'),
        ({"REDACT_FIELDS": "name doc.phone"}, "leave out doc."),
        ({"REDACT_FIELDS": "a..b"}, "no name of a field"),
        ({"REDACT_FIELDS": '"] } drop {} mutate { x => ["'}, "no name of a field"),
        ({"REDACT_HASH_FIELDS": "%{x}"}, "no name of a field"),
        ({"REDACT_HASH_FIELDS": "${HOME}"}, "no name of a field"),
        ({"REDACT_FIELDS": "a b", "REDACT_HASH_FIELDS": "b"}, "contains b, which REDACT_FIELDS removes"),
        ({"REDACT_HASH_FIELDS": "a", "REDACT_HASH_SECRET": ""}, "REDACT_HASH_SECRET is required"),
        ({"REDACT_HASH_SECRET": "short"}, "is shorter than 16 bytes"),
    ],
)
def test_settings_that_would_redact_nothing_or_too_much_are_refused(
    given: dict[str, str], reason: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**given)
    assert reason in str(caught.value)
