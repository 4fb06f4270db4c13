"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(*, first: float = 0.2, most: float = 30.0) -> Iterator[float]:
    """Yield seconds for ever: doubling from `first` up to `most`, each with a jitter of a quarter.

    The jitter keeps many pipelines from coming back in the same moment.
    """
    delay = first
    while True:
        yield delay * random.uniform(0.75, 1.25)  # noqa: S311 (spreads load, guards nothing)
        delay = min(delay * 2, most)
