"""An event as a line of text, where a codec has no `format`: time, host and message.

Source: Logstash's Event#to_s.
"""

from __future__ import annotations

from typing import Any

from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import TIMESTAMP, Event
from cht_sync.pipeline.templates import Template, compile_template, text_of


def event_text(event: Event) -> str:
    """Return `<@timestamp> <host> <message>`; a field that is not there is left as `%{host}`."""
    moment = event.fields.get(TIMESTAMP)
    parts = [] if moment is None else [str(moment)]
    for name in ("host", "message"):
        value = event.get(name)
        parts.append(f"%{{{name}}}" if value is None else _java_text(value))
    return " ".join(parts)


def formatter(format: str | None) -> Template:
    """Return what a codec writes of an event: its format filled in, or the usual line."""
    return event_text if format is None else compile_template(format)


def _java_text(value: Any) -> str:
    """A value as Java's toString shows it: maps as `{a=b, c=d}`, lists as `[a, b]`."""
    if isinstance(value, RawDocument):
        value = value.decode()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_java_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_java_text, value)) + "]"
    return "null" if value is None else text_of(value)
