"""generator: the same lines again and again, to try filters and outputs and to measure them.

Delivery: at least once within a run; a new run begins at the first line. Nothing is made ahead of what the
outputs take. Behaviour as of logstash-input-generator 3.1.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from cht_sync.pipeline.contracts import Batch, Input, Position
from cht_sync.pipeline.decorate import decorate_read
from cht_sync.pipeline.ecs import ECS_CHOICES, ECS_DEFAULT, ECS_HELP, HostField, is_ecs
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import (
    CodecChoice,
    Decoder,
    InputOptions,
    PluginContext,
    option,
    register_input,
    whole,
)
from cht_sync.pipeline.templates import text_of

FROM_STANDARD_INPUT = "stdin"
MOST_EVENTS = 1000
"""Of one batch, where no settings say how many."""


@dataclass(frozen=True)
class Options(InputOptions):
    message: str = option(
        "string",
        default="Hello world!",
        help="The line; `stdin` means one line read from standard input at the start.",
    )
    lines: tuple[Any, ...] | None = option("array", help="The lines, in order; `message` is not used then.")
    count: int = option(
        "number", default=0, check=whole(0), help="How often all lines are given; 0: without end."
    )
    threads: int = option(
        "number", default=1, check=whole(1), help="How many sequences of lines run side by side."
    )
    batch_size: int | None = option(
        "number",
        check=whole(1),
        help="Most events in one batch; unset: pipeline.batch.size, else 1000 (not in Logstash)",
    )
    codec: CodecChoice = option("codec", default="plain", help="How a line becomes events.")
    ecs_compatibility: str = option("string", default=ECS_DEFAULT, choices=ECS_CHOICES, help=ECS_HELP)


@register_input("generator", Options)
def build(options: Options, context: PluginContext) -> Input:
    batch_size = options.batch_size or context.batch_size or MOST_EVENTS
    return Generator(options, options.codec.build_decoder(context), int(batch_size))


class Generator:
    source: str | None = None

    def __init__(self, options: Options, decoder: Decoder, batch_size: int) -> None:
        self._options = options
        self._batch_size = batch_size
        self._decoder = decoder
        self._decorate = decorate_read(options)
        self._host = HostField(options.ecs_compatibility)
        self._sequence_field = "[event][sequence]" if is_ecs(options.ecs_compatibility) else "sequence"
        self._events: Iterator[Event] = iter(())

    def start(self, position: Position | None, stop: threading.Event) -> None:
        self._events = self._all_events()

    def read(self, stop: threading.Event, timeout: float) -> Batch | None:
        if stop.is_set():
            return None
        events = list(islice(self._events, self._batch_size))
        return Batch(events) if events else None

    def interrupt(self) -> None:
        """Nothing to wake: `read` never waits."""

    def close(self) -> None:
        """Nothing to let go of."""

    def _all_events(self) -> Iterator[Event]:
        lines = self._lines()
        times = int(self._options.count)
        for number in range(times) if times > 0 else count():
            for _ in range(int(self._options.threads)):
                for line in lines:
                    for event in self._decoder.decode(line):
                        yield self._completed(event, number)

    def _lines(self) -> list[bytes]:
        options = self._options
        if options.lines is not None:
            return [(one if isinstance(one, str) else text_of(one)).encode() for one in options.lines]
        if options.message == FROM_STANDARD_INPUT:
            return [sys.stdin.buffer.readline()]
        return [options.message.encode()]

    def _completed(self, event: Event, number: int) -> Event:
        self._decorate(event)
        self._host.set(event)
        with contextlib.suppress(ValueError):  # a line of JSON may have a text where the map would be
            event.set(self._sequence_field, number)
        return event
