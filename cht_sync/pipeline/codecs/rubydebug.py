"""rubydebug: events for the eyes, as Ruby's amazing_print shows a hash.

Encoding only: an input that names it is refused, where the original fails with the first event. Behaviour as
of logstash-codec-rubydebug 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import METADATA, Event
from cht_sync.pipeline.plugins import Codec, CodecOptions, PluginContext, option, register_codec
from cht_sync.pipeline.ruby_text import inspect
from cht_sync.pipeline.templates import text_of

INDENT = 4


@dataclass(frozen=True)
class Options(CodecOptions):
    metadata: bool = option("boolean", default=False, help="Whether to show `@metadata` as well.")


@register_codec("rubydebug", Options)
def build(options: Options, _context: PluginContext) -> Codec:
    return RubyDebug(with_metadata=options.metadata)


class RubyDebug:
    def __init__(self, *, with_metadata: bool) -> None:
        self._with_metadata = with_metadata

    def encode(self, event: Event) -> bytes:
        fields = event.fields
        if self._with_metadata and event.metadata:
            fields = {**fields, METADATA: event.metadata}
        return (_shown(fields, INDENT) + "\n").encode(errors="backslashreplace")


def _shown(value: Any, indent: int) -> str:
    if isinstance(value, RawDocument):
        value = _decoded(value)
    if isinstance(value, dict):
        return _hash(value, indent) if value else "{}"
    if isinstance(value, list):
        return _array(value, indent) if value else "[]"
    if isinstance(value, str):
        return inspect(value)
    return "nil" if value is None else text_of(value)


def _decoded(document: RawDocument) -> Any:
    try:
        return document.decode()
    except ValueError:
        return document.raw.decode(errors="replace")


def _hash(value: dict[str, Any], indent: int) -> str:
    keys = [inspect(key) for key in value]
    width = max(map(len, keys)) + indent
    lines = [
        f"{key.rjust(width)} => {_shown(item, indent + INDENT)}"
        for key, item in zip(keys, value.values(), strict=True)
    ]
    return "{\n" + ",\n".join(lines) + "\n" + " " * (indent - INDENT) + "}"


def _array(value: list[Any], indent: int) -> str:
    width = len(str(len(value) - 1))
    lines = [
        f"{' ' * indent}[{index:>{width}}] {_shown(item, indent + INDENT)}"
        for index, item in enumerate(value)
    ]
    return "[\n" + ",\n".join(lines) + "\n" + " " * (indent - INDENT) + "]"
