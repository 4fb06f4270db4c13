"""null, sink: throw events away, to measure what comes before.

Delivery: none. A change that the input rejected is no event; it goes to the dead letters as ever.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from cht_sync.pipeline.contracts import Batch, Output
from cht_sync.pipeline.plugins import (
    CodecChoice,
    OutputOptions,
    PluginContext,
    option,
    register_output,
)


@dataclass(frozen=True)
class Options(OutputOptions):
    codec: CodecChoice = option("codec", default="plain", help="No effect: nothing is written.")


@register_output("null", Options)
@register_output("sink", Options)
def build(_options: Options, _context: PluginContext) -> Output:
    return Nowhere()


class Nowhere:
    def write(self, batch: Batch, stop: threading.Event) -> bool:
        return True

    def close(self) -> None:
        """Nothing to let go of."""
