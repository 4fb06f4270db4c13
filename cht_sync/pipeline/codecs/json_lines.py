"""json_lines: one event a line, as JSON.

Decoding: as `json`, line by line; `[event][original]` is not kept. Encoding: the event as JSON and the
delimiter. Behaviour as of logstash-codec-json_lines 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from cht_sync.pipeline.charset import check_charset
from cht_sync.pipeline.codecs.json import Json
from cht_sync.pipeline.ecs import ECS_CHOICES, ECS_DEFAULT
from cht_sync.pipeline.plugins import Codec, CodecOptions, PluginContext, option, register_codec, whole
from cht_sync.pipeline.references import parse_reference
from cht_sync.pipeline.units import check_delimiter

DEFAULT_LIMIT = 512 << 20


@dataclass(frozen=True)
class Options(CodecOptions):
    delimiter: str = option("string", default="\n", check=check_delimiter, help="What ends each event.")
    charset: str = option(
        "string", default="UTF-8", check=check_charset, help="The character set of what is read."
    )
    decode_size_limit_bytes: int = option(
        "number",
        default=DEFAULT_LIMIT,
        check=whole(1),
        help="The longest line of a stream; a longer one stops the input.",
    )
    target: str | None = option(
        "string",
        check=parse_reference,
        help="The field to put what is read in; the event itself where unset.",
    )
    ecs_compatibility: str = option(
        "string", default=ECS_DEFAULT, choices=ECS_CHOICES, help="No effect: no field is added."
    )


@register_codec("json_lines", Options)
def build(options: Options, _context: PluginContext) -> Codec:
    return Json(
        options.charset,
        options.target,
        delimiter=options.delimiter,
        ending=options.delimiter,
        most_bytes=options.decode_size_limit_bytes,
    )
