"""Lines of a log in JSON: each must be one event in the vocabulary."""

from __future__ import annotations

import json
import re
from typing import Any, get_args, get_type_hints

from cht_sync.logs import LEVELS, Event, Fields

COMMON = frozenset({"at", "level", "logger", "message", "exception"})
VOCABULARY = get_type_hints(Fields)
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def entries(text: str) -> list[dict[str, Any]]:
    """Every line of a log; each is checked."""
    found = [json.loads(line) for line in text.splitlines()]
    for one in found:
        assert MOMENT.fullmatch(one["at"])
        assert one["level"] in (*LEVELS, "critical")
        assert one["message"]
        for name, value in one.items():
            if name not in COMMON:
                check(name, value)
    return found


def check(name: str, value: object) -> None:
    """A field has the type that the vocabulary says."""
    if name == "event":
        assert value in get_args(Event)
        return
    wanted = VOCABULARY[name]
    kinds = get_args(wanted) or (wanted,)
    if all(isinstance(kind, str) for kind in kinds):
        assert value in kinds, (name, value)
        return
    allowed = tuple(kind for kind in kinds if kind is not type(None))
    if float in allowed:
        allowed = (*allowed, int)
    assert isinstance(value, allowed), (name, value)
    assert not isinstance(value, bool)


def events(text: str) -> list[str]:
    """What happened, in order."""
    return [one["event"] for one in entries(text) if "event" in one]
