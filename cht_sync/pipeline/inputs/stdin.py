"""stdin: events from standard input, by default a line each.

Delivery: what was read is delivered or waits; what was read and not yet delivered when the process dies is
gone, because standard input cannot be read again (the input `file` can). The input ends with its stream.
Behaviour as of logstash-input-stdin 3.4.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
from dataclasses import dataclass

from cht_sync.errors import SourceUnavailable
from cht_sync.pipeline.contracts import Batch, Input, Position
from cht_sync.pipeline.decorate import decorate_read
from cht_sync.pipeline.ecs import ECS_CHOICES, ECS_DEFAULT, ECS_HELP, ORIGINAL, is_ecs, set_unless_there
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import (
    CodecChoice,
    Decoder,
    InputOptions,
    PluginContext,
    option,
    register_input,
)
from cht_sync.pipeline.units import Units

MOST_BYTES = 1 << 18
"""Bytes read at once."""


@dataclass(frozen=True)
class Options(InputOptions):
    codec: CodecChoice = option(
        "codec", default="line", help="How lines become events; plain and json read lines, too."
    )
    ecs_compatibility: str = option("string", default=ECS_DEFAULT, choices=ECS_CHOICES, help=ECS_HELP)


@register_input("stdin", Options)
def build(options: Options, context: PluginContext) -> Input:
    """Make the input; nothing is read before `read`."""
    return StandardInput(options, options.codec.build_decoder(context))


class StandardInput:
    source: str | None = None

    def __init__(self, options: Options, decoder: Decoder) -> None:
        self._decoder = decoder
        self._units = Units(decoder.delimiter, decoder.most_bytes)
        self._decorate = decorate_read(options)
        self._host = socket.gethostname()
        self._ecs = is_ecs(options.ecs_compatibility)
        self._host_field = "[host][hostname]" if self._ecs else "host"
        self._ended = False
        self._wake: tuple[socket.socket, socket.socket] | None = None

    def start(self, position: Position | None, stop: threading.Event) -> None:
        if self._wake is None:
            self._wake = socket.socketpair()
            self._wake[1].setblocking(False)

    def read(self, stop: threading.Event, timeout: float) -> Batch | None:
        if stop.is_set() or self._ended or self._wake is None:
            return None
        try:
            stream = sys.stdin.fileno()
            ready, _, _ = select.select([stream, self._wake[0]], [], [], timeout)
            if stop.is_set():
                return None
            if stream not in ready:
                return Batch([])
            data = os.read(stream, MOST_BYTES)
        except (OSError, ValueError) as error:
            raise SourceUnavailable(f"standard input cannot be read: {error}") from error
        self._ended = not data
        units = self._units.feed(data) if data else [rest for rest in [self._units.rest()] if rest]
        return Batch([self._completed(event, unit) for unit in units for event in self._decoder.decode(unit)])

    def interrupt(self) -> None:
        if self._wake is not None:
            with contextlib.suppress(OSError):
                self._wake[1].send(b"x")

    def close(self) -> None:
        """Standard input itself belongs to the process."""
        if self._wake is not None:
            for end in self._wake:
                end.close()
            self._wake = None

    def _completed(self, event: Event, unit: bytes) -> Event:
        self._decorate(event)
        if self._ecs:
            set_unless_there(event, ORIGINAL, unit.decode(errors="replace"))
        set_unless_there(event, self._host_field, self._host)
        return event
