"""What the options that plugins share do to an event: add_field, remove_field, add_tag, remove_tag.

Logstash's decorators, in its order. All texts are templates and are compiled when the plugin is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cht_sync.pipeline.event import METADATA, TAGS, TIMESTAMP, Event
from cht_sync.pipeline.plugins import FilterOptions, InputOptions
from cht_sync.pipeline.ruby_text import as_array
from cht_sync.pipeline.templates import Template, compile_template, text_of

Step = Callable[[Event], None]


def decorate_filtered(options: FilterOptions) -> Step:
    """Return what a filter does to an event that it has succeeded with.

    The function raises ValueError (FieldError, InvalidReference) where a field cannot be set.
    """
    steps = [
        *_add_fields(options.add_field),
        *[_remove_field(name) for name in options.remove_field],
        *[_add_tag(name) for name in options.add_tag],
        *[_remove_tag(name) for name in options.remove_tag],
    ]
    return _all(steps)


def decorate_read(options: InputOptions) -> Step:
    """Return what an input does to each event it has made."""
    steps = [*_add_fields(options.add_field), *[_add_tag(name) for name in options.tags]]
    kind = options.type
    if kind is not None:

        def set_type(event: Event) -> None:
            event.fields.setdefault("type", kind)

        steps.append(set_type)
    return _all(steps)


def _all(steps: list[Step]) -> Step:
    if len(steps) == 1:
        return steps[0]

    def run(event: Event) -> None:
        for step in steps:
            step(event)

    return run


def _add_fields(fields: Mapping[str, Any] | None) -> list[Step]:
    return [
        _add_field(name, compile_template(item if isinstance(item, str) else text_of(item)))
        for name, value in (fields or {}).items()
        for item in (value if isinstance(value, list) else [value])
    ]


def _add_field(name: str, value: Template) -> Step:
    if not _is_plain(name):
        name_of = compile_template(name)
        return lambda event: _append(event, name_of(event), value(event))

    def add(event: Event) -> None:
        # The usual case: a new field with a plain name.
        text = value(event)
        if name in event.fields:
            _append(event, name, text)
        else:
            event.fields[name] = text

    return add


def _is_plain(name: str) -> bool:
    return not set(name) & set("[]%") and name not in (METADATA, TAGS, TIMESTAMP)


def _append(event: Event, reference: str, value: str) -> None:
    if event.include(reference):
        event.set(reference, [*as_array(event.get(reference)), value])
    else:
        event.set(reference, value)


def _remove_field(name: str) -> Step:
    name_of = compile_template(name)

    def remove(event: Event) -> None:
        event.remove(name_of(event))

    return remove


def _add_tag(name: str) -> Step:
    name_of = compile_template(name)
    # Unlike Event.tag, which tag_on_failure uses, Logstash's decorator adds a tag once more.
    return lambda event: event.set(TAGS, [*as_array(event.get(TAGS)), name_of(event)])


def _remove_tag(name: str) -> Step:
    name_of = compile_template(name)

    def remove(event: Event) -> None:
        tags = as_array(event.get(TAGS))
        if tags:
            unwanted = name_of(event)
            event.set(TAGS, [tag for tag in tags if tag != unwanted])

    return remove
