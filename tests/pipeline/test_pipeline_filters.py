"""The filters json and mutate, and the options that all filters share."""

from __future__ import annotations

import pytest
from logstash_cases import Case, assert_is, cases, event_of
from printed import CONTEXT, filtered

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config import load
from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import Event


def run(name: str, case: Case) -> None:
    if "expected_error" in case:
        with pytest.raises(ConfigError):
            filtered(name, case["config"], event_of(case["event"]))
        return
    (event,) = filtered(name, case["config"], event_of(case["event"]))
    assert_is(event, case["expected"], tuple(case.get("expected_absent", ())))
    assert event.get("tags") == case.get("expected_tags")


@cases("json_filter.json")
def test_json_does_to_an_event_what_logstash_s_does(case: Case) -> None:
    run("json", case)


@cases("mutate.json")
def test_mutate_does_to_an_event_what_logstash_s_does(case: Case) -> None:
    run("mutate", case)


def test_the_filters_of_a_rendered_configuration_do_not_decode_the_document() -> None:
    pipeline = load(
        """filter {
          json { source => "message" }
          mutate { add_field => { "_id" => "%{[doc][_id]}" "_rev" => "%{[doc][_rev]}" } }
        }""",
        {},
        CONTEXT,
    )
    raw = b'{"_id":"a","_rev":"1-x",  "n":1}'
    (event,) = pipeline.filter([Event({"doc": RawDocument(raw, {"_id": "a", "_rev": "1-x"})})])
    assert isinstance(event.fields["doc"], RawDocument)
    assert (event.get("_id"), event.get("_rev")) == ("a", "1-x")
    assert raw in event.to_json()


def test_an_id_that_holds_a_template_is_not_filled_in() -> None:
    (event,) = filtered(
        "mutate", {"add_field": {"_id": "%{[doc][_id]}"}}, Event({"doc": {"_id": "%{x}"}, "x": 1})
    )
    assert event.get("_id") == "%{x}"


def test_json_in_an_event_cannot_set_its_metadata_to_something_else() -> None:
    (event,) = filtered("json", {"source": "m"}, Event({"m": '{"@metadata":5}'}))
    assert (event.metadata, event.get("tags")) == ({}, ["_jsonparsefailure"])
