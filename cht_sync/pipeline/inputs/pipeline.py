"""pipeline (input): what other pipelines of this process send to an address.

Delivery: at least once across pipelines. The sender's batch is acknowledged when this pipeline has
delivered it; if this one ends before, the batch waits for the next that listens. The input never ends by
itself. Behaviour as of Logstash's own plugin.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from cht_sync.pipeline.addresses import ADDRESSES, Addresses
from cht_sync.pipeline.contracts import Batch, Input, Position
from cht_sync.pipeline.decorate import decorate_read
from cht_sync.pipeline.plugins import InputOptions, PluginContext, option, register_input


@dataclass(frozen=True, kw_only=True)
class Options(InputOptions):
    address: str = option(
        "string", required=True, help="What other pipelines name in `send_to`; one pipeline has it."
    )


@register_input(
    "pipeline", Options, unsupported={"codec": "has no effect: events come as they are; leave it out"}
)
def build(options: Options, _context: PluginContext) -> Input:
    return PipelineInput(options, ADDRESSES)


class PipelineInput:
    source: str | None = None

    def __init__(self, options: Options, addresses: Addresses) -> None:
        self.address = options.address
        self._addresses = addresses
        self._decorate = decorate_read(options)

    def start(self, position: Position | None, stop: threading.Event) -> None:
        self._addresses.listen(self.address, self)

    def read(self, stop: threading.Event, timeout: float) -> Batch | None:
        delivery = None if stop.is_set() else self._addresses.take(self.address, stop, timeout)
        if delivery is None:
            return None if stop.is_set() else Batch([])
        taken = delivery
        events = taken.copies()
        for event in events:
            self._decorate(event)
        return Batch(events, ack=lambda: self._addresses.done(self.address, taken))

    def interrupt(self) -> None:
        self._addresses.end(self.address, self)

    def close(self) -> None:
        self._addresses.leave(self.address, self)
