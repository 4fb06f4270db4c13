"""uuid: puts a random UUID into a field.

Behaviour as of logstash-filter-uuid 3.0.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.decorate import decorate_filtered
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import FilterOptions, PluginContext, option, register_filter
from cht_sync.pipeline.references import parse_reference


@dataclass(frozen=True)
class Options(FilterOptions):
    target: str = option("string", required=True, check=parse_reference, help="The field to put the UUID in.")
    overwrite: bool = option(
        "boolean", default=False, help="Whether to replace what the field holds; else only null is replaced."
    )


@register_filter("uuid", Options)
def build(options: Options, _context: PluginContext) -> Filter:
    decorate = decorate_filtered(options)

    def add_uuid(event: Event) -> Sequence[Event]:
        if options.overwrite or event.get(options.target) is None:
            event.set(options.target, str(uuid.uuid4()))
        decorate(event)
        return (event,)

    return add_uuid
