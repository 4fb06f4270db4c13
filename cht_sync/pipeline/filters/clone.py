"""clone: adds copies of each event, right behind it.

Each copy gets a tag (or, by the older names of fields, a `type`), then what the common options say; the event
itself stays as it is. All of them go on through the filters that follow. Behaviour as of
logstash-filter-clone 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.decorate import decorate_filtered
from cht_sync.pipeline.ecs import ECS_CHOICES, ECS_DEFAULT, is_ecs
from cht_sync.pipeline.event import TAGS, Event
from cht_sync.pipeline.plugins import FilterOptions, PluginContext, option, register_filter
from cht_sync.pipeline.ruby_text import as_array


@dataclass(frozen=True)
class Options(FilterOptions):
    clones: tuple[str, ...] = option(
        "string", many=True, required=True, help="One copy for each: the tag, or the `type`, that it gets."
    )
    ecs_compatibility: str = option(
        "string",
        default=ECS_DEFAULT,
        choices=ECS_CHOICES,
        help="Whether a copy is told by a tag (v1, v8) or by the field `type` (disabled).",
    )


@register_filter("clone", Options)
def build(options: Options, _context: PluginContext) -> Filter:
    decorate = decorate_filtered(options)
    by_tag = is_ecs(options.ecs_compatibility)

    def clone(event: Event) -> Sequence[Event]:
        events = [event]
        for name in options.clones:
            copied = event.clone()
            if by_tag:
                copied.set(TAGS, [*as_array(copied.get(TAGS)), name])
            else:
                copied.set("type", name)
            decorate(copied)
            events.append(copied)
        return events

    return clone
