"""truncate: cuts long texts, measured in bytes of UTF-8; no character is cut in two.

Texts in maps below a field are cut too, and texts in lists, but not those in maps inside lists. The common
options are done only to events of which something was cut. Behaviour as of logstash-filter-truncate 1.0, but
that a map is walked whether its field is written `a` or `[a]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.decorate import decorate_filtered
from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import FilterOptions, PluginContext, option, register_filter
from cht_sync.pipeline.references import parse_reference


def _check_fields(value: tuple[str, ...]) -> None:
    for name in value:
        parse_reference(name)


def _check_length(value: float) -> None:
    if value < 0:
        raise ValueError("a length cannot be below zero")


@dataclass(frozen=True)
class Options(FilterOptions):
    length_bytes: float = option(
        "number", required=True, check=_check_length, help="The most bytes that a text keeps."
    )
    fields: tuple[str, ...] | None = option(
        "string", many=True, check=_check_fields, help="The fields to cut; all of the event where unset."
    )


@register_filter("truncate", Options)
def build(options: Options, _context: PluginContext) -> Filter:
    decorate = decorate_filtered(options)
    length = int(options.length_bytes)

    def cut_named(event: Event, names: Sequence[str]) -> bool:
        changed = False
        for name in names:
            value = event.get(name)
            short = _cut(value, length)
            if short != value:
                event.set(name, short)
                changed = True
        return changed

    def cut_all(event: Event) -> bool:
        changed = {}
        for name, value in event.fields.items():
            opened = value.decode() if isinstance(value, RawDocument) else value
            short = _cut(opened, length)
            if short != opened:
                changed[name] = short
        event.fields.update(changed)
        return bool(changed)

    def truncate(event: Event) -> Sequence[Event]:
        if cut_all(event) if options.fields is None else cut_named(event, options.fields):
            decorate(event)
        return (event,)

    return truncate


def _cut(value: Any, length: int) -> Any:
    if isinstance(value, str):
        return _cut_text(value, length)
    if isinstance(value, list):
        return [_cut_text(item, length) if isinstance(item, str) else item for item in value]
    if isinstance(value, dict):
        return {name: _cut(item, length) for name, item in value.items()}
    return value


def _cut_text(text: str, length: int) -> str:
    # A character has at most four bytes.
    if len(text) * 4 <= length:
        return text
    encoded = text.encode(errors="surrogatepass")
    if len(encoded) <= length:
        return text
    while length and encoded[length] & 0xC0 == 0x80:
        length -= 1
    return encoded[:length].decode(errors="surrogatepass")
