"""The recorded Logstash cases as parameters of tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cht_sync.pipeline.event import METADATA, TIMESTAMP, VERSION, Event

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "logstash"
MOMENT = "2020-01-02T03:04:05.678Z"

Case = dict[str, Any]


def cases(file_name: str, out_of_scope: Callable[[Case], str | None] = lambda _case: None) -> Any:
    """Parametrize a test by the cases of a file; those for which a reason is given are skipped by it."""
    path = FOLDER / file_name
    if not path.exists():
        absent = pytest.param({}, marks=pytest.mark.skip(reason="the recorded Logstash cases are not here"))
        return pytest.mark.parametrize("case", [absent])
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(
                case,
                id=case["name"],
                marks=[pytest.mark.skip(reason=reason)] if (reason := out_of_scope(case)) else [],
            )
            for case in _listed(json.loads(path.read_text(encoding="utf-8")))
        ],
    )


def _listed(content: Any) -> list[Case]:
    """The cases of a file: a list, or one below the facts about a plugin."""
    return list(content["cases"] if isinstance(content, dict) else content)


def event_of(data: dict[str, Any]) -> Event:
    """Make the event before the step, as the recordings did."""
    return Event.from_mapping({TIMESTAMP: MOMENT, **data})


def assert_is(event: Event, expected: dict[str, Any], absent: tuple[str, ...] = ()) -> None:
    """Compare an event with the recorded one, in which the usual moment and version are left out."""
    actual = json.loads(event.to_json())
    if event.metadata:
        actual[METADATA] = event.metadata
    wanted = dict(expected)
    for name, usual in ((TIMESTAMP, MOMENT), (VERSION, "1")):
        if name not in absent:
            wanted.setdefault(name, usual)
    for name, value in wanted.items():
        if value in ("<now>", "<any>") and name in actual:
            wanted[name] = actual[name]
    assert typed(actual) == typed(wanted)


def typed(value: Any) -> Any:
    """Make 5, 5.0 and true unlike each other."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return (type(value).__name__, value)
