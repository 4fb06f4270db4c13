"""What the recorded cases of filters do not show: rules, refusals, and that no event is lost."""

from __future__ import annotations

import json
import logging
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from printed import CONTEXT, filtered

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config import ConfigProblems, check, load, parse
from cht_sync.pipeline.config.ruby_regex import compile_ruby, ruby_replacement
from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.murmur3 import hash_32, hash_128
from cht_sync.pipeline.ruby_numbers import CONVERTERS, to_float, to_float_eu, to_integer, to_integer_eu
from cht_sync.pipeline.ruby_text import inspect, join, split, to_s
from cht_sync.pipeline.timestamp import Timestamp

EPOCH = Timestamp(0)


def one(name: str, config: dict[str, Any], fields: dict[str, Any]) -> Event:
    (event,) = filtered(name, config, Event(fields))
    return event


def test_an_event_that_a_filter_cannot_work_on_passes_tagged_and_all_others_as_usual(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipeline = load('filter { uuid { id => "u" target => "[a][id]" } }', {}, CONTEXT)
    with caplog.at_level(logging.WARNING):
        events = pipeline.filter([Event(), Event({"a": "Jane Doe"}), Event({"a": "x"}), Event({"a": {}})])
    assert [event.get("tags") for event in events] == [None, ["_filter_failure"], ["_filter_failure"], None]
    assert len(caplog.records) == 1
    assert "u" in caplog.text
    assert "Jane" not in caplog.text


@pytest.mark.parametrize(
    "filters",
    ["clone { clones => [c1] }", "truncate { length_bytes => 9 }", "mutate { copy => { doc => copy } }"],
)
def test_a_document_that_is_nested_too_deeply_for_a_filter_loses_no_event(filters: str) -> None:
    deep = RawDocument(b'{"a":' * 700 + b'"a text to cut"' + b"}" * 700, {})
    pipeline = load(f"filter {{ {filters} }}", {}, CONTEXT)
    events = pipeline.filter([Event({"n": 1}), Event({"doc": deep}), Event({"n": 3})])
    assert {1, 3} <= {event.get("n") for event in events}
    assert any("doc" in event.fields for event in events)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ruby { code => 'x' }", "python"),
        ("mutate { gsub => [a1, b1] }", "three texts"),
        ("mutate { gsub => { a1 => b1 } }", "three texts"),
        ("mutate { gsub => [a1, '%{+q}', c1] }", "Illegal pattern component: q"),
        ("mutate { convert => { a1 => int } }", "expected one of string, integer"),
        ("mutate { convert => { a1 => [integer, float] } }", "invalid conversion type"),
        ("mutate { split => { a1 => 5 } }", "must be a text"),
        ("mutate { replace => { a1 => '%{{b}}' } }", "Unknown pattern letter: b"),
        ("mutate { merge => { a1 => 5 } }", "must be a field"),
        ("fingerprint { method => IPV4_NETWORK }", "how many bits"),
        ("fingerprint { method => IPV4_NETWORK key => many }", "how many bits"),
        ("fingerprint { method => SHA3 }", "expected one of SHA1"),
        ("prune { blacklist_names => ['('] }", "cannot be used"),
        ("prune { whitelist_values => { a1 => '%{x}(' } }", "cannot be used"),
        ("prune { whitelist_values => { a1 => [b1, c1] } }", "one regular expression"),
        ("truncate { length_bytes => -1 }", "below zero"),
        ("truncate { length_bytes => 5 fields => ['[a'] }", "Invalid FieldReference"),
        ("uuid { }", 'needs the option "target"'),
        ("python { function => redact }", "module:function"),
        ("mutate { id => one } drop { id => one }", 'the id "one" is already that of another plugin'),
    ],
)
def test_what_a_filter_cannot_do_is_refused_at_start_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        check(parse(f"filter {{\n{text}\n}}", env={}))
    assert caught.value.line == 2
    assert caught.value.column > 0


def test_plugins_that_cannot_be_made_are_named_together() -> None:
    with pytest.raises(ConfigProblems) as caught:
        load("filter { python { function => 'a:b' }\n if [x] { python { function => 'a:b' } } }", {}, CONTEXT)
    assert [problem.line for problem in caught.value.problems] == [1, 2]
    assert caught.value.hint == "Start with --enable-python-filter to allow it."


@pytest.mark.parametrize(
    ("pattern", "replacement", "text", "changed"),
    [
        (r"(?<n>\d)", r"<\k<n>>", "a1", "a<1>"),
        (r"b", r"[\`|\&|\']", "abc", "a[a|b|c]c"),
        (r"(x)|y", r"<\1>", "xy", "<x><>"),
        (r"x", r"\9\n\q", "x", r"\n\q"),
        (r"a(?i)b|c", "_", "aBaCb", "__b"),
        (r"(?i)a|b", "_", "AB", "__"),
        (r"(a)(?<n>b)", r"\1", "ab", "b"),
        (r"^", "> ", "a\nb\n", "> a\n> b\n"),
        (r"\bé", "e", "é aé", "e aé"),
        (r"a*", "-", "baac", "-b--c-"),
        (r"[^]a]", "_", "]ab", "]a_"),
        (r"[||~~]", "_", "a|~", "a__"),
    ],
)
def test_ruby_s_replacements_are_made(pattern: str, replacement: str, text: str, changed: str) -> None:
    event = one("mutate", {"gsub": ["t", pattern, replacement]}, {"t": text})
    assert (event.get("t"), event.get("tags")) == (changed, None)


def test_a_pattern_from_an_event_that_is_none_is_tagged() -> None:
    assert one("mutate", {"gsub": ["t", "%{t}", "x"]}, {"t": "("}).get("tags") == ["_mutate_error"]


@given(st.text(), st.text())
def test_any_replacement_is_made_or_refused(text: str, replacement: str) -> None:
    pattern = compile_ruby("(.)(?<n>b)?")
    try:
        expand = ruby_replacement(replacement, pattern)
    except ValueError:
        return
    assert isinstance(pattern.sub(expand, text), str)


@given(st.integers(-(10**30), 10**30))
def test_whole_numbers_are_read_as_they_are_written_with_both_thousands_marks(number: int) -> None:
    assert to_integer(str(number)) == to_integer(f"{number:,}") == number
    assert to_integer_eu(f"{number:,}".replace(",", ".")) == number
    assert to_integer(hex(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_with_a_fraction_are_read_as_they_are_written(number: float) -> None:
    assert to_float(repr(number)) == number
    assert to_float_eu(repr(number).replace(".", ",")) == number
    assert to_float(to_s(number)) == number


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(CONVERTERS)), values | st.text("0123456789.,eExX_+-aAnf "))
def test_any_value_is_converted_or_the_event_is_tagged(kind: str, value: Any) -> None:
    event = one("mutate", {"convert": {"v": kind}}, {"v": value})
    assert event.get("tags") in (None, ["_mutate_error"])
    event.to_json()


@pytest.mark.parametrize("value", ["1e999999999", "0x1p99999", Decimal("1E+999999999"), math.inf])
def test_a_number_that_would_take_all_memory_is_none(value: Any) -> None:
    event = one("mutate", {"convert": {"v": "integer"}}, {"v": value})
    assert event.get("tags") == ["_mutate_error"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e15, "1000000000000000.0"),
        (1e16, "1.0e+16"),
        (-0.0001, "-0.0001"),
        (1.25e-05, "1.25e-05"),
        ({"a": [None, True, 'b"#{']}, '{"a"=>[nil, true, "b\\"\\#{"]}'),
        ("x\n\x01", '"x\\n\\x01"'),
    ],
)
def test_values_are_shown_as_by_ruby(value: Any, text: str) -> None:
    assert inspect(value) == text


@given(st.lists(st.text(alphabet="ab "), min_size=1), st.sampled_from(["-", "::"]))
def test_what_is_joined_is_split_into_the_same(items: list[str], separator: str) -> None:
    joined = join(items, separator)
    assert split(joined, separator, keep_empty_ends=True) == (items if joined else [])


def test_what_is_merged_or_copied_shares_nothing_with_its_source() -> None:
    event = one("mutate", {"merge": {"a": "b"}, "copy": {"b": "c"}}, {"a": ["x"], "b": [{"n": 1}]})
    event.set("[a][1][n]", 2)
    event.set("[c][0][n]", 3)
    assert [event.get(name) for name in "abc"] == [["x", {"n": 2}], [{"n": 1}], [{"n": 3}]]


def test_a_renamed_document_is_still_found_inside() -> None:
    document = RawDocument(b'{"_id":"x","n":1}', {})
    event = one(
        "mutate", {"rename": {"doc": "[a][b]"}, "copy": {"[a][b]": "[@metadata][c]"}}, {"doc": document}
    )
    assert event.get("[a][b][n]") == 1
    assert event.get("[@metadata][c][_id]") == "x"


def test_a_document_that_moves_at_the_top_stays_as_received() -> None:
    event = one("mutate", {"rename": {"doc": "body"}}, {"doc": RawDocument(b'{"n" : 1}', {})})
    assert b'"body":{"n" : 1}' in event.to_json()


@pytest.mark.parametrize(
    ("method", "value", "fingerprint"),
    [
        ("MURMUR3", "123.123.123.123", 4013733395),
        ("MURMUR3", 123, 823512154),
        ("MURMUR3", EPOCH, 743372282),
        ("MURMUR3", Timestamp(946_702_800_120_000_000), 4263087275),
        ("MURMUR3_128", "123.123.123.123", "41cbc4056eed401d091dfbeabf7ea9e0"),
        ("MURMUR3_128", 123, "286816c693ac410ed63e1430dcd6f6fe"),
        ("MURMUR3_128", 2148483647, "fdc7699a82556c8c584131f0133ee989"),
        ("MURMUR3_128", EPOCH, "37785b62a8cae473acc315d39b66d86e"),
        ("SHA1", [{"inner_key": "🂡"}, {"1": "2"}], None),
    ],
)
def test_fingerprints_are_those_of_the_original(method: str, value: Any, fingerprint: Any) -> None:
    event = one("fingerprint", {"source": ["v"], "target": "f", "method": method}, {"v": value})
    if fingerprint is None:
        assert len(event.get("f")) == 2
    else:
        assert event.get("f") == fingerprint


def test_fields_are_fingerprinted_together_in_the_order_of_their_names() -> None:
    fields = {"field2": "🂡", "field1": [{"inner_key": "🂡"}, {"1": "2"}]}
    config = {"source": ["field2", "field1"], "target": "f", "concatenate_sources": True}
    assert one("fingerprint", config, fields).get("f") == "d2a1c14e0c9ef137d67114db23b3f2fdbcc90d08"


def test_murmur3_is_the_published_one() -> None:
    assert hash_32(b"The quick brown fox jumps over the lazy dog", 0x9747B28C) == 0x2FA826CD
    assert (
        hash_128(b"The quick brown fox jumps over the lazy dog").hex() == "6c1b07bc7bbc4be347939ac4a93c437a"
    )


@pytest.mark.parametrize("value", ["nowhere", 5, None, "1.2.3"])
def test_a_network_of_what_is_no_address_is_tagged(value: Any) -> None:
    config = {"source": ["v"], "target": "f", "method": "IPV4_NETWORK", "key": "24"}
    assert one("fingerprint", config, {"v": value}).get("tags") == ["_filter_failure"]


def test_the_key_of_a_fingerprint_is_not_shown() -> None:
    checked = check(parse('filter { fingerprint { key => "hush" } }', env={}))
    assert "hush" not in repr(checked)


def test_both_lists_of_values_of_prune_count() -> None:
    config = {"whitelist_values": {"a": "^x"}, "blacklist_values": {"a": "2"}}
    assert one("prune", config, {"a": ["x1", "x2", "y1"]}).get("a") == ["x1"]


def test_prune_compares_what_is_no_text_as_text() -> None:
    event = one("prune", {"blacklist_values": {"phone": "^07", "all": "1"}}, {"phone": 7, "all": [1, 2]})
    assert (event.get("phone"), event.get("all")) == (7, [2])


def test_a_pattern_of_prune_that_an_event_breaks_is_tagged() -> None:
    config = {"interpolate": True, "blacklist_names": ["%{p}"]}
    assert one("prune", config, {"p": "("}).get("tags") == ["_filter_failure"]


def test_truncating_all_fields_leaves_a_short_document_as_received() -> None:
    fields = {"doc": RawDocument(b'{"n" : "ab"}', {}), "long": "abcdefghijklmnopqrstuvwxyz"}
    event = one("truncate", {"length_bytes": 24, "add_tag": ["cut"]}, fields)
    assert b'"doc":{"n" : "ab"}' in event.to_json()
    assert (len(event.get("long")), event.get("tags")) == (24, ["cut"])


@given(st.text(st.characters()), st.integers(0, 20))
def test_no_character_is_cut_in_two(text: str, length: int) -> None:
    cut = one("truncate", {"length_bytes": length, "fields": ["t"]}, {"t": text}).get("t")
    assert text.startswith(cut)
    assert len(cut.encode(errors="surrogatepass")) <= length or cut == text
    rest = text[len(cut) :]
    assert not rest or len((cut + rest[0]).encode(errors="surrogatepass")) > length


def test_clones_share_nothing_with_the_event() -> None:
    events = filtered("clone", {"clones": ["c"], "ecs_compatibility": "disabled"}, Event({"a": {"b": [1]}}))
    events[1].set("[a][b][0]", 2)
    assert [(event.get("[a][b][0]"), event.get("type")) for event in events] == [(1, None), (2, "c")]


def test_parts_of_a_split_share_nothing() -> None:
    events = filtered("split", {"field": "a"}, Event({"a": [{"n": 1}, {"n": 2}], "b": {"x": 1}}))
    events[0].set("[b][x]", 9)
    assert [json.loads(event.to_json())["b"] for event in events] == [{"x": 9}, {"x": 1}]


def test_drop_keeps_about_the_share_that_it_is_told() -> None:
    pipeline = load("filter { drop { percentage => 50 } }", {}, CONTEXT)
    assert 700 < len(pipeline.filter([Event() for _ in range(2_000)])) < 1_300
