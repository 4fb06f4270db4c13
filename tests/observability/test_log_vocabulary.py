"""The page names every field and every event of the log, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

from monitoring_table import PAGE

from cht_sync.logs import Event, Fields
from cht_sync.settings import CHECKOUT

FIRST_CELL = re.compile(r"^\|([^|]*`[^|]*)\|", re.MULTILINE)


def named(heading: str) -> set[str]:
    """The names in the first cells of the table that begins with a heading."""
    table = PAGE.read_text().split(heading, 1)[1].split("\n\n", 1)[0]
    return {name for cell in FIRST_CELL.findall(table) for name in re.findall(r"`(\w+)`", cell)}


def calls() -> Iterator[str]:
    """The sources of the package."""
    for path in (CHECKOUT / "cht_sync").rglob("*.py"):
        if path.name != "logs.py":
            yield path.read_text()


def test_the_page_has_every_field() -> None:
    assert named("| field | |") == set(Fields.__annotations__) - {"event"}


def test_the_page_has_every_event() -> None:
    assert named("| event | of | |") == set(get_args(Event))


def test_every_event_is_logged_somewhere() -> None:
    sources = "\n".join(calls())
    assert [event for event in get_args(Event) if f'"{event}"' not in sources] == []


def test_every_field_is_said_somewhere() -> None:
    sources = "\n".join(calls())
    assert [name for name in Fields.__annotations__ if f"{name}=" not in sources] == []
