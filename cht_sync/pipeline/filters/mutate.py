"""mutate: changes fields.

So far with the options that all filters share; an operation of its own is refused at start. An event
that cannot be changed as asked passes with a tag. Behaviour as of logstash-filter-mutate 3.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.decorate import decorate_filtered
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import FilterOptions, PluginContext, option, register_filter

OPERATIONS = (
    "coerce",
    "rename",
    "update",
    "replace",
    "convert",
    "gsub",
    "uppercase",
    "capitalize",
    "lowercase",
    "strip",
    "split",
    "join",
    "merge",
    "copy",
)


@dataclass(frozen=True)
class Options(FilterOptions):
    tag_on_failure: str = option(
        "string", default="_mutate_error", help="The tag of an event that could not be changed."
    )


@register_filter(
    "mutate", Options, unsupported=dict.fromkeys((*OPERATIONS, "periodic_flush"), "is not supported yet")
)
def build(options: Options, _context: PluginContext) -> Filter:
    change = decorate_filtered(options)

    def mutate(event: Event) -> Sequence[Event]:
        try:
            change(event)
        except ValueError:
            event.tag(options.tag_on_failure)
        return (event,)

    return mutate
