"""line: text, a line an event.

Decoding: one event a line, its text in `message`. Encoding: `format` filled in, else time, host and
message, and the delimiter. Behaviour as of logstash-codec-line 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from cht_sync.pipeline.charset import check_charset
from cht_sync.pipeline.codecs.plain import Text
from cht_sync.pipeline.ecs import ECS_CHOICES, ECS_DEFAULT, ECS_HELP, is_ecs
from cht_sync.pipeline.plugins import (
    Codec,
    CodecOptions,
    PluginContext,
    check_templates,
    option,
    register_codec,
)
from cht_sync.pipeline.units import check_delimiter


@dataclass(frozen=True)
class Options(CodecOptions):
    format: str | None = option(
        "string", check=check_templates, help="What is written of an event; `%{...}` is filled in."
    )
    charset: str = option(
        "string", default="UTF-8", check=check_charset, help="The character set of what is read."
    )
    delimiter: str = option("string", default="\n", check=check_delimiter, help="What ends each line.")
    ecs_compatibility: str = option("string", default=ECS_DEFAULT, choices=ECS_CHOICES, help=ECS_HELP)


@register_codec("line", Options)
def build(options: Options, _context: PluginContext) -> Codec:
    return Text(
        options.format,
        options.charset,
        ecs=is_ecs(options.ecs_compatibility),
        delimiter=options.delimiter,
        ending=options.delimiter,
    )
