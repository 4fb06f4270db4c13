"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_REQUESTED = 300.0
"""Seconds for which a server is left alone at most, whatever it asks for."""
ASKS_FOR_TIME = (429, 503)
"""The statuses whose `Retry-After` counts."""


def delays(*, first: float = 0.2, most: float = 30.0) -> Iterator[float]:
    """Yield seconds for ever: doubling from `first` up to `most`, each with a jitter of a quarter.

    The jitter keeps many pipelines from coming back in the same moment.
    """
    delay = first
    while True:
        yield delay * random.uniform(0.75, 1.25)  # noqa: S311 (spreads load, guards nothing)
        delay = min(delay * 2, most)


def requested(status: int, retry_after: str | None) -> float:
    """Return the seconds for which an answer asks to be left alone; 0 where it does not.

    Source: RFC 9110, "Retry-After": a number of seconds, or the date when to come back.
    """
    if status not in ASKS_FOR_TIME or retry_after is None:
        return 0.0
    text = retry_after.strip()
    try:
        if text.isascii() and text.isdigit():
            seconds = float(text)
        else:
            at = parsedate_to_datetime(text)
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - datetime.now(
                UTC
            ).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_REQUESTED)
