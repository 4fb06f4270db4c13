"""`%{...}`: texts filled in from events."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logstash_cases import Case, cases, event_of

from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.templates import compile_template


@cases("sprintf.json")
def test_a_template_is_filled_in_as_by_logstash(case: Case) -> None:
    event = event_of(case["event"])
    for name in case.get("remove_first", ()):
        event.remove(name)
    if case["expected"] is None:
        # A pattern is refused at start, a reference for each event.
        with pytest.raises(ValueError, match=re.escape(case["expected_error"])):
            compile_template(case["template"])(event)
    else:
        assert compile_template(case["template"])(event) == case["expected"]


def test_a_known_member_of_a_raw_document_is_filled_in_without_decoding() -> None:
    event = Event({"doc": RawDocument(b"{not json", {"_id": "a"})})
    assert compile_template("%{[doc][_id]}")(event) == "a"


def test_a_raw_document_is_filled_in_as_received() -> None:
    event = Event({"doc": RawDocument(b'{"a": 1.50}', {})})
    assert compile_template("<%{doc}>")(event) == '<{"a": 1.50}>'


@given(st.text(alphabet="%{}[]ab+s "))
def test_any_text_is_a_template_or_is_refused_as_one(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(compile_template(text)(Event({"a": "x"})), str)
