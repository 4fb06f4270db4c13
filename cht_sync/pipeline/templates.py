"""`%{...}` in texts: Logstash's sprintf, compiled once and run for every event.

`%{field}` and `%{[a][b]}` give the field's value as text and are left as written where there is no
value; `%{+%s}` gives the event's time in seconds since 1970, `%{+YYYY.MM.dd}` by a pattern of Joda-Time,
`%{{yyyy-MM-dd}}` by one of java.time, always in UTC, and `%{{TIME_NOW}}` the present.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from cht_sync.pipeline.dates.java_time import Moment, compile_java
from cht_sync.pipeline.dates.joda_format import compile_joda
from cht_sync.pipeline.document import ABSENT, RawDocument, encode_json
from cht_sync.pipeline.event import TIMESTAMP, Event, getter
from cht_sync.pipeline.references import InvalidReference
from cht_sync.pipeline.timestamp import NANOSECONDS, Timestamp

Template = Callable[[Event], str]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def compile_template(text: str) -> Template:
    """Return a function that fills in the template for an event.

    Raises ValueError for a pattern of a date that means nothing. As in Logstash a reference that cannot be
    read is an error of each event: the function then raises InvalidReference.
    """
    parts = _split(text)
    if not parts:
        return lambda _event: text
    if len(parts) == 1:
        return parts[0]
    return lambda event: "".join([part(event) for part in parts])


def _split(text: str) -> list[Template]:
    parts: list[Template] = []
    position = 0
    while (opening := text.find("%{", position)) >= 0 and (closing := text.find("}", opening)) >= 0:
        if opening > position:
            parts.append(_constant(text[position:opening]))
        inside = text[opening + 2 : closing]
        position = closing + 1
        if "+%s".startswith(inside):
            # Logstash compares only as many characters as there are: %{} and %{+} count as well.
            parts.append(_epoch_seconds)
        elif inside.startswith("{") and closing + 1 == len(text):
            raise ValueError(f"the date pattern %{{{inside}}} must be closed by two braces")
        elif inside.startswith("{") and text[position] == "}":
            position += 1
            parts.append(_java_date(inside[1:]))
        elif inside.startswith("+"):
            parts.append(_joda_date(inside[1:]))
        else:
            parts.append(_field(inside))
    if parts and position < len(text):
        parts.append(_constant(text[position:]))
    return parts


def _constant(text: str) -> Template:
    return lambda _event: text


def _field(reference: str) -> Template:
    as_written = f"%{{{reference}}}"
    try:
        read = getter(reference)
    except InvalidReference:

        def fail(_event: Event) -> str:
            raise InvalidReference(reference)

        return fail

    def fill_in(event: Event) -> str:
        value = read(event)
        if type(value) is str:
            return value
        if value is None or value is ABSENT:
            return as_written
        return text_of(value)

    return fill_in


def _joda_date(pattern: str) -> Template:
    try:
        write = compile_joda(pattern)
    except ValueError as error:
        raise ValueError(f"the date pattern %{{+{pattern}}}: {error}") from None
    return _date(lambda nanoseconds: write(_to_datetime(nanoseconds)))


def _java_date(pattern: str) -> Template:
    if pattern == "TIME_NOW":
        return lambda _event: str(Timestamp(time.time_ns() // 1000 * 1000))
    try:
        write = compile_java(pattern)
    except ValueError as error:
        raise ValueError(f"the date pattern %{{{{{pattern}}}}}: {error}") from None
    return _date(lambda nanoseconds: write(Moment(_to_datetime(nanoseconds), nanoseconds % NANOSECONDS)))


def _date(write: Callable[[int], str]) -> Template:
    # The events of a batch often share their time.
    remembered = lru_cache(maxsize=64)(write)

    def fill_in(event: Event) -> str:
        moment = event.fields.get(TIMESTAMP)
        return remembered(moment.nanoseconds) if isinstance(moment, Timestamp) else ""

    return fill_in


def _to_datetime(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def _epoch_seconds(event: Event) -> str:
    moment = event.fields.get(TIMESTAMP)
    return str(moment.seconds) if isinstance(moment, Timestamp) else ""


def text_of(value: Any) -> str:
    """Return a field's value as Logstash puts it into a text.

    Lists are joined by commas, maps are JSON, numbers look as in Java.
    """
    if isinstance(value, list):
        return ",".join(_item_text(item) for item in value)
    if isinstance(value, RawDocument):
        return value.raw.decode()
    if isinstance(value, dict):
        return encode_json(value).decode()
    return _scalar_text(value)


def _item_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_item_text(item) for item in value)
    return _java_text(value)


def _java_text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_java_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_java_text(item) for item in value) + "]"
    return _scalar_text(value)


def _scalar_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _double_text(value) if isinstance(value, float) else str(value)


def _double_text(value: float) -> str:
    """Write a double as Java's Double.toString: an exponent below 10^-3 and from 10^7 on."""
    if not math.isfinite(value) or value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    sign, digits, _ = Decimal(repr(value)).normalize().as_tuple()
    text = "".join(map(str, digits))
    exponent = Decimal(repr(value)).adjusted()
    return f"{'-' if sign else ''}{text[0]}.{text[1:] or '0'}E{exponent}"
