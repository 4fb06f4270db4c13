"""json_lines: one event a line, as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import Codec, CodecOptions, PluginContext, option, register_codec


@dataclass(frozen=True)
class Options(CodecOptions):
    delimiter: str = option("string", default="\n", help="What ends each event.")
    charset: str = option("string", default="UTF-8", choices=("UTF-8",), help="The encoding of the text.")


@register_codec(
    "json_lines",
    Options,
    unsupported=dict.fromkeys(
        ("decode_size_limit_bytes", "ecs_compatibility", "target"), "is not supported yet"
    ),
)
def build(options: Options, _context: PluginContext) -> Codec:
    return JsonLines(options.delimiter.encode())


class JsonLines:
    def __init__(self, delimiter: bytes) -> None:
        self._delimiter = delimiter

    def encode(self, event: Event) -> bytes:
        return event.to_json() + self._delimiter
