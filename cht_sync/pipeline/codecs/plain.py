"""plain: text without an end of its own.

Decoding: one event a unit, its text in `message`. Encoding: `format` filled in, else time, host and
message; nothing ends the text. Behaviour as of logstash-codec-plain 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from cht_sync.pipeline.charset import check_charset, converter
from cht_sync.pipeline.ecs import ECS_CHOICES, ECS_DEFAULT, ECS_HELP, ORIGINAL, is_ecs
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.event_text import formatter
from cht_sync.pipeline.plugins import (
    Codec,
    CodecOptions,
    PluginContext,
    check_templates,
    option,
    register_codec,
)

NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class Options(CodecOptions):
    format: str | None = option(
        "string", check=check_templates, help="What is written of an event; `%{...}` is filled in."
    )
    charset: str = option(
        "string", default="UTF-8", check=check_charset, help="The character set of what is read."
    )
    ecs_compatibility: str = option("string", default=ECS_DEFAULT, choices=ECS_CHOICES, help=ECS_HELP)


@register_codec("plain", Options)
def build(options: Options, _context: PluginContext) -> Codec:
    return Text(options.format, options.charset, ecs=is_ecs(options.ecs_compatibility))


class Text:
    """Text with what ends it: in a stream that is read, and behind what is written."""

    most_bytes = NO_LIMIT

    def __init__(
        self, format: str | None, charset: str, *, ecs: bool, delimiter: str = "\n", ending: str = ""
    ) -> None:
        self.delimiter = delimiter.encode()
        self._ending = ending
        self._convert = converter(charset)
        self._text_of = formatter(format)
        self._ecs = ecs

    def encode(self, event: Event) -> bytes:
        return (self._text_of(event) + self._ending).encode(errors="backslashreplace")

    def decode(self, unit: bytes) -> list[Event]:
        text = self._convert(unit)
        event = Event({"message": text})
        if self._ecs:
            event.set(ORIGINAL, text)
        return [event]
