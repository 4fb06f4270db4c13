"""Which names of fields an input or a codec uses: Logstash's option `ecs_compatibility`."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from cht_sync.pipeline.event import Event

ECS_CHOICES = ("disabled", "v1", "v8")
ECS_DEFAULT = "v8"
ECS_HELP = "The names of added fields: those of the Elastic Common Schema (v1, v8), or the older ones."

ORIGINAL = "[event][original]"
"""Where the Elastic Common Schema has the text that an event was made of."""


def is_ecs(choice: str) -> bool:
    """Whether the names are those of the schema."""
    return choice != "disabled"


class HostField:
    """Sets on which host an event was read, `[host][name]` or `host`, where the event does not say it."""

    def __init__(self, ecs_compatibility: str) -> None:
        self.name = socket.gethostname()
        self._field = "[host][name]" if is_ecs(ecs_compatibility) else "host"

    def set(self, event: Event) -> None:
        set_unless_there(event, self._field, self.name)


def set_unless_there(event: Event, field: str, value: Any) -> None:
    """Set a field that an event may have already; one that cannot be set, below a text, is left out."""
    if not event.include(field):
        with contextlib.suppress(ValueError):
            event.set(field, value)
