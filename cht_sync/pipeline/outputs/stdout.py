"""stdout: writes events to standard output.

Delivery: at least once; a batch counts as delivered when the operating system has its bytes. Behaviour as of
logstash-output-stdout 3.1.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass

from cht_sync.errors import DeliveryError
from cht_sync.pipeline.contracts import Batch, Output
from cht_sync.pipeline.plugins import (
    Codec,
    CodecChoice,
    OutputOptions,
    PluginContext,
    option,
    register_output,
)


@dataclass(frozen=True)
class Options(OutputOptions):
    codec: CodecChoice = option("codec", default="rubydebug", help="How an event is written.")


@register_output("stdout", Options)
def build(options: Options, context: PluginContext) -> Output:
    return StandardOutput(options.codec.build(context))


class StandardOutput:
    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def write(self, batch: Batch, stop: threading.Event) -> bool:
        try:
            sys.stdout.buffer.write(b"".join(map(self._codec.encode, batch.events)))
            sys.stdout.buffer.flush()
        except OSError as error:
            raise DeliveryError(f"standard output cannot be written: {error.strerror}") from error
        return True

    def close(self) -> None:
        """Nothing to let go of: standard output belongs to the process."""
