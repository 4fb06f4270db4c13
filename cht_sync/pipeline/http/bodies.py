"""What is sent of an event: the formats json, form and message, and `mapping`.

Source: logstash-output-http 6.0.1. With a mapping every leaf is a text; keys are taken as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus

from cht_sync.pipeline.document import encode_json
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.ruby_text import to_s
from cht_sync.pipeline.templates import compile_template, text_of

Body = Callable[[Event], bytes]
"""Raises ValueError (InvalidReference) where the event cannot be written so."""

CONTENT_TYPES = {
    "json": "application/json",
    "json_batch": "application/json",
    "form": "application/x-www-form-urlencoded",
    "message": "text/plain",
}
"""What `content_type` is where it is not set, by format."""


def body_maker(format: str, mapping: Mapping[str, Any] | None, message: str | None) -> Body:
    """Return the function that makes the body of one event; with json_batch its item of the array."""
    if format == "message":
        fill_in = compile_template(message or "")
        return lambda event: fill_in(event).encode(errors="replace")
    if mapping is None:
        shown: Callable[[Event], Any] = _fields
    else:
        shown = _filled_in(mapping)
    if format == "form":
        return lambda event: _form(shown(event))
    if mapping is None:
        return Event.to_json
    return lambda event: encode_json(shown(event))


def _fields(event: Event) -> dict[str, Any]:
    return event.fields


def _filled_in(value: Any) -> Callable[[Event], Any]:
    if isinstance(value, Mapping):
        members = {name: _filled_in(item) for name, item in value.items()}
        return lambda event: {name: fill_in(event) for name, fill_in in members.items()}
    if isinstance(value, list | tuple):
        items = [_filled_in(item) for item in value]
        return lambda event: [fill_in(event) for fill_in in items]
    return compile_template(value if isinstance(value, str) else text_of(value))


def _form(fields: Mapping[str, Any]) -> bytes:
    pairs = [f"{_escaped(name)}={_escaped(to_s(value))}" for name, value in fields.items()]
    return "&".join(pairs).encode()


def _escaped(text: str) -> str:
    return quote_plus(text, errors="replace")
