"""When Python's collector of cycles runs: seldom, since events make none.

Each event is some objects that the collector counts, and all of them are freed by their reference counts.
With its usual thresholds it looks again and again at those of the batch in hand: 6 of 20 microseconds a
document (bench/README.md).
"""

from __future__ import annotations

import gc

ALLOCATED = 50_000
"""Objects more than before; the events of some batches are fewer."""


def collect_rarely() -> None:
    """To be called once, when everything that stays was made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATED)
