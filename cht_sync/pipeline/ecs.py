"""Which names of fields an input or a codec uses: Logstash's option `ecs_compatibility`."""

from __future__ import annotations

ECS_CHOICES = ("disabled", "v1", "v8")
ECS_DEFAULT = "v8"
ECS_HELP = "The names of added fields: those of the Elastic Common Schema (v1, v8), or the older ones."

ORIGINAL = "[event][original]"
"""Where the Elastic Common Schema has the text that an event was made of."""


def is_ecs(choice: str) -> bool:
    """Whether the names are those of the schema."""
    return choice != "disabled"
