"""date: reads a time out of a field, into `@timestamp` or another field.

The formats are tried one after another. `ISO8601`, `UNIX` (seconds), `UNIX_MS` and `TAI64N` have names;
anything else is a pattern of Joda-Time, such as `yyyy-MM-dd HH:mm:ss`. Times have milliseconds. An event
whose field is missing or null passes unchanged, one whose field fits no format passes with tags. Behaviour as
of logstash-filter-date 3.1, but that years before 1 and after 9999 do not fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any

from cht_sync.pipeline.contracts import Filter
from cht_sync.pipeline.dates.iso8601 import read_iso8601
from cht_sync.pipeline.dates.joda_parse import compile_reader
from cht_sync.pipeline.dates.names import names_of
from cht_sync.pipeline.dates.zones import local_zone, zone_of
from cht_sync.pipeline.decorate import decorate_filtered
from cht_sync.pipeline.event import TIMESTAMP, Event
from cht_sync.pipeline.plugins import (
    FilterOptions,
    PluginContext,
    check_templates,
    option,
    register_filter,
)
from cht_sync.pipeline.references import parse_reference
from cht_sync.pipeline.ruby_numbers import whole_part
from cht_sync.pipeline.templates import compile_template
from cht_sync.pipeline.timestamp import Timestamp

ENGLISH = "en"
_LATEST_SECOND = 2**31 - 1
_LEAP_SECONDS = 10
_FIRST_MILLISECOND = -62_135_596_800_000
_LAST_MILLISECOND = 253_402_300_799_999
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_TAI64N = re.compile(r"@?([0-9a-fA-F]{16})([0-9a-fA-F]{8})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MILLISECOND = timedelta(milliseconds=1)

ReadText = Callable[[str, tzinfo], datetime]
Read = Callable[[Any, Event], int]
"""Milliseconds since 1970 of a field's value; raises ValueError for what does not fit."""


def _check_zone(value: str) -> None:
    if "%{" in value:
        check_templates(value)
    else:
        zone_of(value)


def _check_match(value: tuple[Any, ...]) -> None:
    if len(value) < 2 or not all(isinstance(item, str) for item in value):
        raise ValueError("expected the name of a field and at least one format")
    parse_reference(value[0])


@dataclass(frozen=True)
class Options(FilterOptions):
    match: tuple[str, ...] = option(
        "array",
        required=True,
        check=_check_match,
        help="The field, then the formats to try: ISO8601, UNIX, UNIX_MS, TAI64N, or Joda-Time's patterns.",
    )
    target: str = option(
        "string", default=TIMESTAMP, check=parse_reference, help="The field to put the time in."
    )
    timezone: str | None = option(
        "string",
        check=_check_zone,
        help="The zone of texts without one, such as `Europe/Paris` or `%{field}`; else the machine's.",
    )
    locale: str | None = option(
        "string",
        check=names_of,
        help="The language of the names of months and days, such as `fr`; else English.",
    )
    tag_on_failure: tuple[str, ...] = option(
        "string", many=True, default=("_dateparsefailure",), help="The tags of an event that fits no format."
    )

    def __post_init__(self) -> None:
        for pattern in self.match[1:]:
            if pattern not in _NAMED:
                try:
                    compile_reader(pattern)
                except ValueError as error:
                    raise ValueError(f"the format {pattern!r}: {error}") from None


@register_filter("date", Options)
def build(options: Options, _context: PluginContext) -> Filter:
    field, *formats = options.match
    zone = _zone(options.timezone)
    readers = [_reader(pattern, options.locale or ENGLISH, zone) for pattern in formats]
    decorate = decorate_filtered(options)

    def read(value: Any, event: Event) -> Timestamp | None:
        for reader in readers:
            try:
                milliseconds = reader(value, event)
            except ValueError:
                continue
            if _FIRST_MILLISECOND <= milliseconds <= _LAST_MILLISECOND:
                return Timestamp(milliseconds * 1_000_000)
        return None

    def date(event: Event) -> Sequence[Event]:
        value = event.get(field)
        if value is None:
            return (event,)
        moment = read(value, event)
        if moment is None:
            for tag in options.tag_on_failure:
                event.tag(tag)
        else:
            event.set(options.target, moment)
            decorate(event)
        return (event,)

    return date


def _zone(name: str | None) -> Callable[[Event], tzinfo]:
    if name is not None and "%{" in name:
        fill_in = compile_template(name)
        return lambda event: zone_of(fill_in(event))
    zone = local_zone() if name is None else zone_of(name)
    return lambda _event: zone


def _reader(pattern: str, language: str, zone: Callable[[Event], tzinfo]) -> Read:
    if pattern in _NUMERIC:
        read_value = _NUMERIC[pattern]
        return lambda value, _event: read_value(value)
    read_text: ReadText = read_iso8601 if pattern == "ISO8601" else compile_reader(pattern, language)

    def read(value: Any, event: Event) -> int:
        if not isinstance(value, str):
            raise ValueError("not a text")
        return (read_text(value, zone(event)) - _EPOCH) // _MILLISECOND

    return read


def _unix(value: Any) -> int:
    if isinstance(value, str):
        whole, dot, rest = value.partition(".")
        milliseconds = _integer(whole) * 1000
        if dot:
            digits = rest[:3]
            # Of a negative time too the fraction is added, as in the original.
            milliseconds += _integer(digits) * 10 ** (3 - len(digits))
        seconds = milliseconds // 1000
    else:
        seconds = _whole(value)
        # As exact as the number is written: 1.001 seconds are 1001 milliseconds.
        milliseconds = whole_part(Decimal(repr(value) if isinstance(value, float) else value) * 1000)
    if seconds > _LATEST_SECOND:
        raise ValueError("more seconds than a UNIX time has")
    return milliseconds


def _unix_milliseconds(value: Any) -> int:
    milliseconds = _integer(value) if isinstance(value, str) else _whole(value)
    if isinstance(value, Decimal) and milliseconds > _LATEST_SECOND * 1000:
        raise ValueError("more seconds than a UNIX time has")
    return milliseconds


def _tai64n(value: Any) -> int:
    found = _TAI64N.match(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("not TAI64N")
    seconds = int(found[1], 16) & (1 << 62) - 1
    return (seconds - _LEAP_SECONDS) * 1000 + int(found[2], 16) // 1_000_000


def _integer(text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise ValueError("not a whole number")
    return int(text)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("not a number")
    return whole_part(value)


_NUMERIC: dict[str, Callable[[Any], int]] = {
    "UNIX": _unix,
    "UNIX_MS": _unix_milliseconds,
    "TAI64N": _tai64n,
}
_NAMED = {"ISO8601", *_NUMERIC}
