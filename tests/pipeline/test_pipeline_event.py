"""Events: field references, their special fields, and JSON."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logstash_cases import Case, assert_is, cases, event_of, typed

from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.event_text import event_text
from cht_sync.pipeline.references import FieldError, InvalidReference, parse_reference
from cht_sync.pipeline.timestamp import Timestamp


def out_of_scope(case: Case) -> str | None:
    if any(step["do"] == "cancel" for step in case["steps"]):
        return "only Ruby code can cancel an event, and the filter ruby is refused at start"
    return None


def do(event: Event, step: dict[str, Any]) -> Any:  # noqa: PLR0911 (one step each)
    match step["do"], step["args"]:
        case "get", [reference]:
            return event.get(reference)
        case "include", [reference]:
            return event.include(reference)
        case "remove", [reference]:
            return event.remove(reference)
        case "tag", [name]:
            return event.tag(name)
        case "set", [reference, value]:
            event.set(reference, value)
            return value
        case "to_json", []:
            return json.loads(event.to_json())
        case "to_json_raw", []:
            return event.to_json().decode()
        case "to_s", []:
            return event_text(event)
        case "to_hash", []:
            return event.fields
        case unknown, _:
            raise AssertionError(unknown)


@pytest.mark.usefixtures("utc")
@cases("event_api.json", out_of_scope)
def test_the_event_does_what_logstash_s_event_does(case: Case) -> None:
    event = event_of(case["event"])
    for step in case["steps"]:
        if "error" in step:
            with pytest.raises((FieldError, InvalidReference)):
                do(event, step)
        else:
            assert typed(_plain(do(event, step))) == typed(step["result"])
    assert_is(event, case["expected"], tuple(case.get("expected_absent", ())))


def _plain(value: Any) -> Any:
    """Show times as the recordings do."""
    if isinstance(value, Timestamp):
        return {"timestamp": str(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def raw_event(text: str, **known: Any) -> Event:
    return Event({"doc": RawDocument(text.encode(), known)})


def test_a_raw_document_is_not_decoded_for_what_is_known() -> None:
    event = raw_event("{not even json", _id="a")
    assert event.get("[doc][_id]") == "a"
    assert isinstance(event.fields["doc"], RawDocument)


def test_a_raw_document_is_written_as_it_was_received() -> None:
    text = '{"b" : 1.50, "a":\t12345678901234567890, "u":"\\u0000\\ud800"}'
    assert f'"doc":{text},' in raw_event(text, _id="a").to_json().decode()


def test_reading_inside_a_raw_document_puts_the_decoded_one_into_the_event() -> None:
    event = raw_event('{"z":1,"a":{"n":12345678901234567890}}')
    assert event.get("[doc][a][n]") == 12345678901234567890
    assert list(event.fields["doc"]) == ["z", "a"]


def test_a_decoded_document_loses_no_digit() -> None:
    text = '{"big":123456789012345678901234567890,"exact":0.1234567890123456789,"f":1.5,"huge":1e400}'
    event = raw_event(text)
    assert event.get("[doc][f]") == 1.5
    assert json.loads(event.to_json(), parse_float=str)["doc"] == {
        **json.loads(text, parse_float=str),
        "huge": "1E+400",
    }


def test_a_decoded_document_keeps_lone_surrogates() -> None:
    event = raw_event('{"u":"\\ud800","\\udfff":[1,"x"]}')
    assert event.get("[doc][u]") == "\ud800"
    assert json.loads(event.to_json())["doc"] == {"u": "\ud800", "\udfff": [1, "x"]}


def test_writing_inside_a_raw_document_changes_only_that() -> None:
    event = raw_event('{"a":1,"b":2}', _id="x")
    event.set("[doc][b]", 3)
    assert event.fields["doc"] == {"a": 1, "b": 3}


def test_removing_from_a_raw_document_changes_only_that() -> None:
    event = raw_event('{"a":1,"b":2}')
    assert event.remove("[doc][a]") == 1
    assert event.fields["doc"] == {"b": 2}


def test_a_list_does_not_grow_without_bounds_for_an_index_from_a_document() -> None:
    event = Event({"a": []})
    with pytest.raises(FieldError, match="out of bounds"):
        event.set("[a][999999999]", 1)


@given(st.lists(st.text(st.characters(exclude_characters="[]"), min_size=1), min_size=1))
def test_a_reference_in_brackets_is_the_path_of_its_names(names: list[str]) -> None:
    assert parse_reference("".join(f"[{name}]" for name in names)) == tuple(names)


@given(st.text(alphabet="[]ab@%"))
def test_any_text_is_a_reference_or_is_refused_as_one(text: str) -> None:
    try:
        path = parse_reference(text)
    except InvalidReference:
        return
    event = Event()
    if path[0] not in ("@timestamp", "@metadata", "tags"):
        event.set(text, "x")
        assert event.get(text) == "x"
        assert event.remove(text) == "x"
        assert not event.include(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values))
def test_decoding_and_writing_a_document_changes_no_value(document: dict[str, Any]) -> None:
    event = Event({"doc": RawDocument(json.dumps(document).encode(), {})})
    assert event.get("doc") == document
    assert json.loads(event.to_json())["doc"] == document


names = st.text(st.characters(exclude_characters="[]"), min_size=1) | st.sampled_from(
    ["a", "b", "0", "-1", "3"]
)


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), json_values),
    st.lists(names, min_size=1, max_size=4),
    json_values,
)
def test_what_is_set_is_got_and_removed_and_nothing_else_changes(
    fields: dict[str, Any], path: list[str], value: Any
) -> None:
    if path[0] in ("@timestamp", "@metadata", "tags"):
        return
    event = Event(copy.deepcopy(fields))
    before = copy.deepcopy(event.fields)
    reference = "".join(f"[{name}]" for name in path)
    try:
        event.set(reference, value)
    except FieldError:
        assert event.fields == before
        return
    # A list passes over a name that is no index.
    if event.include(reference):
        assert event.get(reference) == value
        assert event.remove(reference) == value
    for name in before.keys() - {path[0]}:
        assert event.fields[name] == before[name]


@given(json_values)
def test_a_clone_is_equal_and_shares_nothing(value: Any) -> None:
    event = Event({"v": value, "doc": RawDocument(b'{"a":1}', {})}, {"m": value})
    made = event.clone()
    assert made.to_json() == event.to_json()
    before = event.to_json()
    made.set("[doc][a]", 2)
    made.set("v", None)
    made.set("[@metadata][m]", None)
    assert (event.to_json(), event.metadata) == (before, {"m": value})


@given(st.text() | st.text(alphabet="0123456789-:TZ+."))
def test_any_text_is_a_time_or_is_refused_as_one(text: str) -> None:
    with contextlib.suppress(ValueError):
        str(Timestamp.parse(text))


@given(st.integers(-62_135_596_800 * 10**9, 253_402_300_799 * 10**9))
def test_a_time_is_read_as_it_is_written(nanoseconds: int) -> None:
    written = str(Timestamp(nanoseconds))
    assert Timestamp.parse(written).nanoseconds == nanoseconds
