"""pipeline (output): hands events to other pipelines of this process.

Delivery: at least once across pipelines. A batch counts as delivered when every pipeline that it was sent to
has delivered it; an address where nobody listens makes it wait, and says so. Behaviour as of Logstash's own
plugin, which acknowledges as soon as the other pipeline's queue in memory has the events.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from cht_sync.pipeline.addresses import ADDRESSES, Addresses
from cht_sync.pipeline.contracts import Batch, Output
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.plugins import OutputOptions, PluginContext, option, register_output


def _must_be_true(value: bool) -> None:
    if not value:
        raise ValueError("false would drop events while the other pipeline is busy; leave it out")


def _check_addresses(addresses: tuple[str, ...]) -> None:
    if not addresses:
        raise ValueError("expected an address, got an empty array: the events would go nowhere")


@dataclass(frozen=True, kw_only=True)
class Options(OutputOptions):
    send_to: tuple[str, ...] = option(
        "string",
        many=True,
        required=True,
        check=_check_addresses,
        help="Addresses of input pipelines; each gets every event.",
    )
    ensure_delivery: bool = option(
        "boolean", default=True, check=_must_be_true, help="Wait for the other pipeline; false is refused."
    )


@register_output(
    "pipeline", Options, unsupported={"codec": "has no effect: events go as they are; leave it out"}
)
def build(options: Options, context: PluginContext) -> Output:
    return PipelineOutput(options, ADDRESSES, context.metrics_of(OutputMetrics))


class PipelineOutput:
    def __init__(self, options: Options, addresses: Addresses, metrics: OutputMetrics) -> None:
        self.send_to = tuple(dict.fromkeys(options.send_to))
        self._addresses = addresses
        self._metrics = metrics

    def write(self, batch: Batch, stop: threading.Event) -> bool:
        if not batch.events:
            return True
        return all(
            self._addresses.send(address, batch.events, stop, self._metrics) for address in self.send_to
        )

    def close(self) -> None:
        """Nothing to let go of: whoever listens is closed with its own pipeline."""
