"""mutate: changes fields.

The operations run in Logstash's order, whatever the order in the configuration: coerce, rename, update,
replace, convert, gsub, uppercase, capitalize, lowercase, strip, split, join, merge, copy; then the options
that all filters share. The first failure ends the filter's work on the event: what was done before it stays,
what comes after it, `add_field` included, is not done, and the event passes with a tag. Behaviour as of
logstash-filter-mutate 3.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cht_sync.pipeline.config.ruby_regex import compile_ruby, ruby_replacement
from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.decorate import Step, decorate_filtered
from cht_sync.pipeline.event import Event, copy_value
from cht_sync.pipeline.plugins import (
    FilterOptions,
    PluginContext,
    check_templates,
    option,
    register_filter,
)
from cht_sync.pipeline.ruby_numbers import CONVERTERS
from cht_sync.pipeline.ruby_text import STRIPPED, as_array, join, split, to_s
from cht_sync.pipeline.templates import compile_template

Fields = Mapping[str, Any] | None


def _check_values(value: dict[str, Any]) -> None:
    check_templates([to_s(item) for item in value.values()])


def _check_names(value: dict[str, Any]) -> None:
    check_templates([text for pair in value.items() for text in map(to_s, pair)])


def _check_types(value: dict[str, Any]) -> None:
    for kind in value.values():
        if not isinstance(kind, str) or kind not in CONVERTERS:
            raise ValueError(
                f"invalid conversion type {to_s(kind)!r}, expected one of {', '.join(CONVERTERS)}"
            )


def _check_separators(value: dict[str, Any]) -> None:
    for name, separator in value.items():
        if not isinstance(separator, str):
            raise ValueError(f"the separator of {name!r} must be a text")


def _check_gsub(value: tuple[Any, ...]) -> None:
    if len(value) % 3 or not all(isinstance(item, str) for item in value):
        raise ValueError("gsub takes three texts for each change: a field, a pattern, a replacement")
    for pattern, replacement in zip(value[1::3], value[2::3], strict=True):
        check_templates([pattern, replacement])
        if "%{" not in pattern:
            compile_ruby(pattern)


def _check_sources(value: dict[str, Any]) -> None:
    for name, sources in value.items():
        if not all(isinstance(source, str) for source in as_array(sources)):
            raise ValueError(f"what is merged into {name!r} must be a field or an array of fields")


@dataclass(frozen=True)
class Options(FilterOptions):
    coerce: Fields = option(
        "hash", check=_check_values, help="Values for fields that are there and null; `%{...}` is filled in."
    )
    rename: Fields = option(
        "hash",
        check=_check_names,
        help="New names of fields, by their old ones; `%{...}` is filled in in both.",
    )
    update: Fields = option(
        "hash", check=_check_values, help="New values of fields that are there; `%{...}` is filled in."
    )
    replace: Fields = option(
        "hash",
        check=_check_values,
        help="Values of fields, whether they are there or not; `%{...}` is filled in.",
    )
    convert: Fields = option(
        "hash",
        check=_check_types,
        help="Types of fields: integer, float, integer_eu, float_eu (decimal comma), string, boolean. "
        "Each item of a list is converted; maps and null are left.",
    )
    gsub: tuple[str, ...] = option(
        "array",
        default=(),
        check=_check_gsub,
        help="In threes: a field, a regular expression, what replaces each match (`\\1`: a group). "
        "For texts and the texts in lists.",
    )
    uppercase: tuple[str, ...] = option(
        "string", many=True, default=(), help="Fields to put into capital letters."
    )
    capitalize: tuple[str, ...] = option(
        "string", many=True, default=(), help="Fields to begin with a capital letter, the rest in small ones."
    )
    lowercase: tuple[str, ...] = option(
        "string", many=True, default=(), help="Fields to put into small letters."
    )
    strip: tuple[str, ...] = option(
        "string", many=True, default=(), help="Fields to take white space off, at both ends."
    )
    split: Fields = option(
        "hash", check=_check_separators, help="Separators of texts that become lists, by field."
    )
    join: Fields = option(
        "hash", check=_check_separators, help="Separators of lists that become texts, by field."
    )
    merge: Fields = option(
        "hash",
        check=_check_sources,
        help="Fields to add to others, by the one that grows: lists, texts or maps.",
    )
    copy: Fields = option("hash", help="Fields to copy, by the field that is copied.")
    tag_on_failure: str = option(
        "string", default="_mutate_error", help="The tag of an event that could not be changed."
    )


@register_filter("mutate", Options)
def build(options: Options, _context: PluginContext) -> Filter:
    steps = [
        *[make(name, value) for fields, make in _by_field(options) for name, value in (fields or {}).items()],
        decorate_filtered(options),
    ]
    change = steps[0] if len(steps) == 1 else _all(steps)

    def mutate(event: Event) -> Sequence[Event]:
        try:
            change(event)
        except ValueError:
            event.tag(options.tag_on_failure)
        return (event,)

    return mutate


def _by_field(options: Options) -> list[tuple[Fields, Callable[[str, Any], Step]]]:
    """Return the operations in the order in which they run, each with what makes a step of one entry."""
    return [
        (options.coerce, _coerce),
        (options.rename, _rename),
        (options.update, _update),
        (options.replace, _replace),
        (options.convert, _convert),
        *[({field: entry}, _gsub) for field, *entry in zip(*[iter(options.gsub)] * 3, strict=True)],
        *[({field: str.upper}, _change_texts) for field in options.uppercase],
        *[({field: str.capitalize}, _change_texts) for field in options.capitalize],
        *[({field: str.lower}, _change_texts) for field in options.lowercase],
        *[({field: None}, _strip) for field in options.strip],
        (options.split, _split),
        (options.join, _join),
        (options.merge, _merge),
        (options.copy, _copy),
    ]


def _all(steps: Sequence[Step]) -> Step:
    def change(event: Event) -> None:
        for step in steps:
            step(event)

    return change


def _coerce(field: str, value: Any) -> Step:
    fill_in = compile_template(to_s(value))

    def coerce(event: Event) -> None:
        if event.include(field) and event.get(field) is None:
            event.set(field, fill_in(event))

    return coerce


def _rename(old: str, new: Any) -> Step:
    old_name, new_name = compile_template(old), compile_template(to_s(new))

    def rename(event: Event) -> None:
        source, target = old_name(event), new_name(event)
        if event.include(source):
            event.set(target, event.remove(source))

    return rename


def _update(field: str, value: Any) -> Step:
    fill_in = compile_template(to_s(value))

    def update(event: Event) -> None:
        if event.include(field):
            event.set(field, fill_in(event))

    return update


def _replace(field: str, value: Any) -> Step:
    fill_in = compile_template(to_s(value))
    return lambda event: event.set(field, fill_in(event))


def _convert(field: str, kind: str) -> Step:
    converter = CONVERTERS[kind]

    def convert(event: Event) -> None:
        value = event.get(field)
        if isinstance(value, list):
            event.set(field, [None if item is None else converter(item) for item in value])
        elif value is not None and not isinstance(value, dict):
            event.set(field, converter(value))

    return convert


def _gsub(field: str, entry: Sequence[str]) -> Step:
    pattern, replacement = entry
    fill_in_pattern, fill_in_replacement = compile_template(pattern), compile_template(replacement)
    fixed = None if "%{" in pattern else compile_ruby(pattern)

    def gsub(event: Event) -> None:
        value = event.get(field)
        if isinstance(value, str | list):
            regex = fixed or compile_ruby(fill_in_pattern(event))
            expand = ruby_replacement(fill_in_replacement(event), regex)
            event.set(field, _texts_changed(value, lambda text: regex.sub(expand, text)))

    return gsub


def _change_texts(field: str, change: Callable[[str], str]) -> Step:
    def change_texts(event: Event) -> None:
        value = event.get(field)
        if isinstance(value, str | list):
            event.set(field, _texts_changed(value, change))

    return change_texts


def _texts_changed(value: str | list[Any], change: Callable[[str], str]) -> str | list[Any]:
    if isinstance(value, str):
        return change(value)
    return [change(item) if isinstance(item, str) else item for item in value]


def _strip(field: str, _nothing: None) -> Step:
    def strip(event: Event) -> None:
        value = event.get(field)
        if isinstance(value, str):
            event.set(field, value.strip(STRIPPED))
        elif isinstance(value, list):
            if not all(isinstance(item, str) for item in value):
                raise ValueError("only texts can be stripped")
            event.set(field, [item.strip(STRIPPED) for item in value])

    return strip


def _split(field: str, separator: str) -> Step:
    def split_text(event: Event) -> None:
        value = event.get(field)
        if isinstance(value, str):
            event.set(field, split(value, separator))

    return split_text


def _join(field: str, separator: str) -> Step:
    def join_list(event: Event) -> None:
        value = event.get(field)
        if isinstance(value, list):
            event.set(field, join(value, separator))

    return join_list


def _merge(field: str, sources: Any) -> Step:
    def merge(event: Event) -> None:
        # Read once: a list or a map grows with each source, a text begins anew, so the last source wins.
        present = event.get(field)
        for source in as_array(sources):
            added = copy_value(event.get(source))
            if isinstance(present, dict) != isinstance(added, dict):
                continue
            if isinstance(present, dict):
                present = {**present, **added}
                event.set(field, present)
            else:
                merged = [*as_array(present), *as_array(added)]
                if isinstance(present, list):
                    present = merged
                event.set(field, merged)

    return merge


def _copy(source: str, target: Any) -> Step:
    target_name = to_s(target)

    def copy_field(event: Event) -> None:
        value = event.get(source)
        if value is not None:
            event.set(target_name, copy_value(value))

    return copy_field
