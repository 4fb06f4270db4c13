"""Conditions: which events a branch sees, and that a failing one loses nothing."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logstash_cases import Case, cases, event_of

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config import load, parse
from cht_sync.pipeline.config.conditions import ConditionFailure, Test, compile_condition
from cht_sync.pipeline.config.ruby_regex import compile_ruby
from cht_sync.pipeline.config.tree import Branch
from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import PluginContext

CONTEXT = PluginContext("main", Path())


def compiled(condition: str) -> Test:
    (node,) = parse(f"filter {{ if {condition} {{ }} }}", env={}).filters
    assert isinstance(node, Branch)
    return compile_condition(node.cases[0][0])


@cases("conditionals.json")
def test_a_condition_decides_as_by_logstash(case: Case) -> None:
    event = event_of(case["event"])
    if case["expected"] != "error":
        assert compiled(case["condition"])(event) is case["expected"]
    elif "does not start" in case["consequence"]:
        with pytest.raises(ConfigError):
            compiled(case["condition"])
    else:
        with pytest.raises(ConditionFailure):
            compiled(case["condition"])(event)


def test_a_failing_condition_counts_as_false_tags_the_event_and_keeps_all_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipeline = load(
        """filter {
          if [x] > 5 { mutate { add_tag => "more" } } else { mutate { add_tag => "less" } }
        }""",
        {},
        CONTEXT,
    )
    with caplog.at_level(logging.WARNING):
        events = pipeline.filter([Event({"x": 6}), Event(), Event({"x": "a"}), Event({"x": 1})])
    assert [event.get("tags") for event in events] == [
        ["more"],
        ["_condition_failure", "less"],
        ["_condition_failure", "less"],
        ["less"],
    ]
    assert len(caplog.records) == 1


def test_a_document_that_cannot_be_decoded_loses_no_event() -> None:
    pipeline = load(
        """filter {
          if [doc][x] == 1 { mutate { add_tag => "one" } }
          json { source => "[doc][y]" }
          mutate { add_field => { "z" => "%{[doc][z]}" } }
        }""",
        {},
        CONTEXT,
    )
    (event,) = pipeline.filter([Event({"doc": RawDocument(b'{"n":1e99999999999999999999}', {})})])
    assert event.get("tags") == ["_condition_failure", "_jsonparsefailure", "_mutate_error"]


def test_a_condition_on_what_is_known_of_a_raw_document_does_not_decode_it() -> None:
    event = Event({"doc": RawDocument(b"{not json", {"_id": "a"})})
    assert compiled('[doc][_id] == "a" and [doc]')(event)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (r"\Aa\z", "a", True),
        (r"\Aa\z", "a\n", False),
        (r"\Aa\Z", "a\n", True),
        (r"(?m)a.b", "a\nb", True),
        (r"(?m-i:a.b)", "a\nb", True),
        (r"(?<x>a)\k<x>", "aa", True),
        (r"[\h]+z", "f0z", True),
        (r"[]a]", "]", True),
        (r"(?<=a)b", "ab", True),
        (r"(?>a+)b", "aab", True),
    ],
)
def test_ruby_s_own_ways_of_writing_a_pattern_are_understood(pattern: str, text: str, matches: bool) -> None:
    assert (compile_ruby(pattern).search(text) is not None) is matches


@pytest.mark.parametrize(
    "pattern", [r"(", r"[[:alpha:]]", r"\p{Alpha}", r"(?i)ž", r"(?P<a>x)", r"(?a)x", r"[a&&b]", r"a\R"]
)
def test_a_pattern_that_python_would_read_otherwise_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        compile_ruby(pattern)


@given(st.text(alphabet="()[]?<>:=!ahkzZimx-&\\|*+ ^$") | st.text())
def test_any_pattern_is_compiled_or_refused(pattern: str) -> None:
    with contextlib.suppress(ValueError):
        compile_ruby(pattern)
