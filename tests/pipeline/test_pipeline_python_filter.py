"""The filter python: functions of the operator's, which may do anything and lose no event."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from printed import CONTEXT, filtered

from cht_sync.errors import ConfigError
from cht_sync.pipeline.config import load
from cht_sync.pipeline.event import Event

ALLOWED = dataclasses.replace(CONTEXT, python_filter=True)


def redact(event: Event) -> Event:
    event.remove("[doc][name]")
    return event


def in_place(event: Event) -> None:
    event.set("seen", True)


def drop_all(_event: Event) -> list[Event]:
    return []


def double(event: Event) -> list[Event]:
    return [event, event.clone()]


def fail(event: Event) -> Event:
    event.remove("name")
    raise KeyError(event.get("id"))


def return_nonsense(_event: Event) -> str:
    return "text"


def hold_nonsense(event: Event) -> None:
    event.set("when", datetime.date(2026, 1, 2))


FUNCTIONS: tuple[Callable[[Event], Any], ...] = (
    redact,
    in_place,
    drop_all,
    double,
    fail,
    return_nonsense,
    hold_nonsense,
)


@pytest.fixture(autouse=True)
def module() -> Iterator[None]:
    made = types.ModuleType("operator_functions")
    for function in FUNCTIONS:
        setattr(made, function.__name__, function)
    sys.modules["operator_functions"] = made
    yield
    del sys.modules["operator_functions"]


def called(name: str, fields: dict[str, Any], **options: Any) -> list[Event]:
    config = {"function": f"operator_functions:{name}", **options}
    return filtered("python", config, Event(fields), ALLOWED)


def test_it_is_off_unless_it_is_allowed() -> None:
    with pytest.raises(ConfigError, match="not allowed") as caught:
        load('filter {\n python { function => "operator_functions:redact" } }', {}, CONTEXT)
    assert (caught.value.line, caught.value.column) == (2, 2)
    assert "--enable-python-filter" in (caught.value.hint or "")


@pytest.mark.parametrize("function", ["operator_functions:nothing", "no_such_module:redact", "sys:path"])
def test_what_cannot_be_called_is_refused_at_start(function: str) -> None:
    with pytest.raises(ConfigError, match=function):
        filtered("python", {"function": function}, Event(), ALLOWED)


def test_a_function_changes_its_event() -> None:
    (event,) = called("redact", {"doc": {"name": "Jane", "age": 5}}, add_tag=["redacted"])
    assert (event.get("doc"), event.get("tags")) == ({"age": 5}, ["redacted"])


def test_a_function_that_returns_nothing_has_changed_its_event() -> None:
    (event,) = called("in_place", {})
    assert event.get("seen") is True


def test_a_function_may_return_no_event_or_several() -> None:
    assert called("drop_all", {}) == []
    assert [event.get("a") for event in called("double", {"a": 1})] == [1, 1]


@pytest.mark.parametrize("name", ["fail", "return_nonsense"])
def test_an_event_for_which_a_function_fails_passes_with_a_tag(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        (event,) = called(name, {"name": "Jane", "id": "secret"}, add_tag=["done"])
    assert event.get("tags") == ["_pythonexception"]
    assert f"operator_functions:{name} raised" in caplog.text
    assert "secret" not in caplog.text


def test_what_an_event_cannot_hold_becomes_text_with_a_tag() -> None:
    (event,) = called("hold_nonsense", {})
    assert b'"when":"2026-01-02"' in event.to_json()
    assert event.get("tags") == ["_pythonexception"]
