"""json: reads a field that holds JSON text into the event, or into one field of it.

An event without the field passes unchanged; one whose text is not JSON passes with a tag. No event is
ever dropped. Behaviour as of logstash-filter-json 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.decorate import decorate_filtered
from cht_sync.pipeline.document import ABSENT, decode_json
from cht_sync.pipeline.ecs import ECS_CHOICES, ECS_DEFAULT
from cht_sync.pipeline.event import TIMESTAMP, Event, getter
from cht_sync.pipeline.plugins import FilterOptions, PluginContext, option, register_filter
from cht_sync.pipeline.references import parse_reference
from cht_sync.pipeline.templates import text_of


@dataclass(frozen=True)
class Options(FilterOptions):
    source: str = option(
        "string", required=True, check=parse_reference, help="The field that holds the JSON text."
    )
    target: str | None = option(
        "string", check=parse_reference, help="The field to put the value in; the event itself where unset."
    )
    skip_on_invalid_json: bool = option(
        "boolean", default=False, help="Whether to leave events with invalid JSON without a tag."
    )
    tag_on_failure: tuple[str, ...] = option(
        "string", many=True, default=("_jsonparsefailure",), help="The tags of an event that failed."
    )
    ecs_compatibility: str = option(
        "string", default=ECS_DEFAULT, choices=ECS_CHOICES, help="Taken and without effect on this filter."
    )


@register_filter("json", Options)
def build(options: Options, _context: PluginContext) -> Filter:
    source = getter(options.source)
    target = options.target
    decorate = decorate_filtered(options)

    def fail(event: Event) -> None:
        for tag in options.tag_on_failure:
            event.tag(tag)

    def read_json(event: Event) -> Sequence[Event]:
        try:
            text = source(event)
            if text is ABSENT or text is None or text is False:
                return (event,)
            value = _decode(text)
        except ValueError:
            if not options.skip_on_invalid_json:
                fail(event)
            return (event,)
        try:
            if target:
                event.set(target, value)
            else:
                _into_root(event, value)
            decorate(event)
        except ValueError:
            fail(event)
        return (event,)

    return read_json


def _decode(text: Any) -> Any:
    if not isinstance(text, str):
        raise ValueError("not a text")
    return decode_json(text)


def _into_root(event: Event, value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError("not an object")
    moment = value.pop(TIMESTAMP, None)
    for name, item in value.items():
        event.set(name, item)
    if moment is not None and moment is not False:
        event.set_moment(moment if isinstance(moment, str) else text_of(moment))
