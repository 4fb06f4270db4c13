"""split: makes an event of each item of a list, or of each part of a text.

The new events take the place of the one that was split, each a copy of it with one item. Empty and null items
make no event, so an event whose field is an empty list or an empty text is gone; a text with one part passes
unchanged; a field that is neither text nor list is left, with a tag. Behaviour as of logstash-filter-split
3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.decorate import decorate_filtered
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import FilterOptions, PluginContext, option, register_filter
from cht_sync.pipeline.references import parse_reference
from cht_sync.pipeline.ruby_text import split

FAILURE_TAG = "_split_type_failure"


@dataclass(frozen=True)
class Options(FilterOptions):
    field: str = option("string", default="message", check=parse_reference, help="The field to split.")
    target: str | None = option(
        "string",
        check=parse_reference,
        help="The field to put each item in; the one that is split where unset.",
    )
    terminator: str = option(
        "string", default="\n", help="What separates the parts of a text; one blank means any white space."
    )


@register_filter("split", Options)
def build(options: Options, _context: PluginContext) -> Filter:
    decorate = decorate_filtered(options)
    target = options.field if options.target is None else options.target

    def split_event(event: Event) -> Sequence[Event]:
        value = event.get(options.field)
        if isinstance(value, str):
            items = split(value, options.terminator, keep_empty_ends=True)
            if len(items) == 1:
                return (event,)
        elif isinstance(value, list):
            items = value
        else:
            event.tag(FAILURE_TAG)
            return (event,)
        bare = event.clone()
        if isinstance(value, list) and options.target is None:
            # The copies need no copies of the list.
            bare.remove(options.field)
        events = []
        for item in items:
            if item is not None and item != "":
                made = bare.clone()
                made.set(target, item)
                decorate(made)
                events.append(made)
        return events

    return split_event
