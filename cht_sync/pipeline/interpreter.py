"""How Python runs the engine: what its defaults cost where a few threads hand events to each other.

The collector of cycles finds none in events, which are all freed by their reference counts, and yet looks at
those of the batch in hand again and again: 6 of 20 microseconds a document. A thread that has an answer to
read, or a batch to send, waits up to the switch interval at each system call while another thread makes the
next batch: with 5 ms a first load ran at 0.72 of the rate of psql, with 0.3 ms at 0.81 (docs/performance.md).
"""

from __future__ import annotations

import gc
import sys

ALLOCATED = 50_000
"""Objects more than before; the events of some batches are fewer. What may be large must be in no cycle
(`http/failed`)."""
SWITCH_INTERVAL = 0.0003
"""Seconds."""


def tune() -> None:
    """To be called once, when everything that stays was made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATED)
    sys.setswitchinterval(SWITCH_INTERVAL)
