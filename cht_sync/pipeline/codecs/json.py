"""json: one JSON text.

Decoding: an object is one event, an array of objects one event each; what is no JSON, or is neither, is an
event with the text in `message` and the tag `_jsonparsefailure`. Blank text is no event. Encoding: the
event as JSON, with nothing behind it. Behaviour as of logstash-codec-json 3.1.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from cht_sync.pipeline.charset import check_charset, converter
from cht_sync.pipeline.document import decode_json
from cht_sync.pipeline.ecs import ECS_CHOICES, ECS_DEFAULT, ECS_HELP, ORIGINAL, is_ecs
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import Codec, CodecOptions, PluginContext, option, register_codec
from cht_sync.pipeline.references import parse_reference
from cht_sync.pipeline.tally import Tally

log = logging.getLogger(__name__)

FAILURE_TAG = "_jsonparsefailure"
NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class Options(CodecOptions):
    charset: str = option(
        "string", default="UTF-8", check=check_charset, help="The character set of what is read."
    )
    target: str | None = option(
        "string",
        check=parse_reference,
        help="The field to put what is read in; the event itself where unset.",
    )
    ecs_compatibility: str = option("string", default=ECS_DEFAULT, choices=ECS_CHOICES, help=ECS_HELP)


@register_codec("json", Options)
def build(options: Options, _context: PluginContext) -> Codec:
    return Json(options.charset, options.target, keeps_original=is_ecs(options.ecs_compatibility))


class Json:
    """JSON texts, with what ends them: in a stream that is read, and behind what is written."""

    def __init__(
        self,
        charset: str,
        target: str | None,
        *,
        keeps_original: bool = False,
        delimiter: str = "\n",
        ending: str = "",
        most_bytes: int = NO_LIMIT,
    ) -> None:
        self.delimiter = delimiter.encode()
        self.most_bytes = most_bytes
        self._ending = ending.encode()
        self._is_utf_8 = charset.lower() in ("utf-8", "utf8")
        self._convert = converter(charset)
        self._target = target
        self._keeps_original = keeps_original
        self._unsaid = Tally()

    def encode(self, event: Event) -> bytes:
        return event.to_json() + self._ending

    def decode(self, unit: bytes) -> list[Event]:
        if self._unsaid:
            self._say("see the events")
        if not unit.strip():
            return []
        try:
            value = decode_json(unit if self._is_utf_8 else self._convert(unit))
            objects = value if isinstance(value, list) else [value]
            events = [self._event(one) for one in objects]
        except ValueError as error:
            self._unsaid.add(FAILURE_TAG)
            self._say(str(error))
            return [Event({"message": self._convert(unit), "tags": [FAILURE_TAG]})]
        if self._keeps_original and len(events) == 1 and not events[0].include(ORIGINAL):
            _set_original(events[0], self._convert(unit))
        return events

    def _say(self, reason: str) -> None:
        said = self._unsaid.due()
        if said is not None:
            # Never the text itself: it may be about a person.
            log.warning(
                "JSON that cannot be read is now in the field message, tagged %s: %s (events: %d)",
                said[0],
                reason,
                said[1],
            )

    def _event(self, value: Any) -> Event:
        if not isinstance(value, dict):
            raise ValueError(f"an object is needed, not a {type(value).__name__}")
        if self._target is None:
            return Event.from_mapping(value)
        event = Event()
        event.set(self._target, value)
        return event


def _set_original(event: Event, text: str) -> None:
    try:
        event.set(ORIGINAL, text)
    except ValueError:
        log.debug("the field event is no map; the original text is not kept in it")
