"""prune: removes fields at the top of the event, by their names or by their values.

Without options it removes fields whose names hold a `%{...}` that was not filled in. Lists lose the items
that a list of values does not want, and are removed when none is left. `@metadata` is left alone. Behaviour
as of logstash-filter-prune 3.0, but that numbers and other values are compared as text, where the original
ends the pipeline, and that `whitelist_values` and `blacklist_values` of one field both count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cht_sync.pipeline.config.ruby_regex import compile_ruby
from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.decorate import decorate_filtered
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import (
    FilterOptions,
    PluginContext,
    check_templates,
    option,
    register_filter,
)
from cht_sync.pipeline.templates import compile_template, text_of

UNRESOLVED = r"%\{[^}]+\}"

Matches = Callable[[Event, str], bool]


def _check_names(value: Iterable[str]) -> None:
    for pattern in value:
        if "%{" in pattern:
            compile_template(pattern)
        else:
            compile_ruby(pattern)


def _check_values(value: dict[str, Any]) -> None:
    for name, pattern in value.items():
        if not isinstance(pattern, str):
            raise ValueError(f"what {name!r} is compared with must be one regular expression")
        check_templates(name)
    _check_names(value.values())


@dataclass(frozen=True)
class Options(FilterOptions):
    whitelist_names: tuple[str, ...] = option(
        "string",
        many=True,
        default=(),
        check=_check_names,
        help="Regular expressions: fields whose names match none of them go; `@timestamp` is a field too.",
    )
    blacklist_names: tuple[str, ...] = option(
        "string",
        many=True,
        default=(UNRESOLVED,),
        check=_check_names,
        help="Regular expressions: fields whose names match one of them go.",
    )
    whitelist_values: Mapping[str, str] | None = option(
        "hash",
        check=_check_values,
        help="Regular expressions by field: the field goes unless its value matches.",
    )
    blacklist_values: Mapping[str, str] | None = option(
        "hash", check=_check_values, help="Regular expressions by field: the field goes if its value matches."
    )
    interpolate: bool = option(
        "boolean", default=False, help="Whether `%{...}` is filled in in names and regular expressions."
    )

    def __post_init__(self) -> None:
        if self.interpolate:
            return
        values = [*(self.whitelist_values or {}).values(), *(self.blacklist_values or {}).values()]
        for pattern in (*self.whitelist_names, *self.blacklist_names, *values):
            compile_ruby(pattern)


@register_filter("prune", Options)
def build(options: Options, _context: PluginContext) -> Filter:
    decorate = decorate_filtered(options)
    wanted = _any_of(options.whitelist_names, options.interpolate)
    unwanted = _any_of(options.blacklist_names, options.interpolate)
    values = [
        (_name(name, options.interpolate), _matcher(pattern, options.interpolate), keeps)
        for table, keeps in ((options.whitelist_values, True), (options.blacklist_values, False))
        for name, pattern in (table or {}).items()
    ]

    def prune(event: Event) -> Sequence[Event]:
        gone = {
            name
            for name in event.fields
            if (options.whitelist_names and not wanted(event, name)) or unwanted(event, name)
        }
        kept: dict[str, list[Any]] = {}
        for name_of, matches, keeps in values:
            name = name_of(event)
            value = kept.get(name, event.fields.get(name))
            if isinstance(value, list):
                kept[name] = [item for item in value if matches(event, text_of(item)) is keeps]
            elif value is not None and value is not False and matches(event, text_of(value)) is not keeps:
                gone.add(name)
        for name, items in kept.items():
            if items != event.fields[name]:
                event.fields[name] = items
                if not items:
                    gone.add(name)
        for name in gone:
            event.fields.pop(name, None)
        decorate(event)
        return (event,)

    return prune


def _name(text: str, interpolate: bool) -> Callable[[Event], str]:
    return compile_template(text) if interpolate else lambda _event: text


def _any_of(patterns: Sequence[str], interpolate: bool) -> Matches:
    matchers = [_matcher(pattern, interpolate) for pattern in patterns]
    return lambda event, text: any(matches(event, text) for matches in matchers)


def _matcher(pattern: str, interpolate: bool) -> Matches:
    if interpolate and "%{" in pattern:
        fill_in = compile_template(pattern)
        return lambda event, text: _compiled(fill_in(event)).search(text) is not None
    search = compile_ruby(pattern).search
    return lambda _event, text: search(text) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return compile_ruby(pattern)
