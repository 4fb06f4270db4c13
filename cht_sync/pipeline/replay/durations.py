"""Durations as people write them: a number of seconds, or `1 hour`, `14 days`, `250 ms`.

Source: logstash-input-file, friendly_durations.rb.
"""

from __future__ import annotations

import re

_SECONDS = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 0.000001}
_NAMES = {
    "week": "w", "weeks": "w", "day": "d", "days": "d", "hour": "h", "hours": "h", "min": "m", "mins": "m",
    "minute": "m", "minutes": "m", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "msec": "ms",
    "msecs": "ms", "usec": "us", "usecs": "us",
}  # fmt: skip
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.ASCII)


def seconds_of(text: str, unit: str = "s") -> float:
    """Return the seconds of a duration; a bare number counts in `unit`. Raises ValueError."""
    found = _DURATION.fullmatch(text.strip())
    name = _NAMES.get(found[2], found[2]) or unit if found else ""
    if found is None or name not in _SECONDS:
        raise ValueError(f"{text!r} is no duration; for example 10, 250 ms, 1 hour or 14 days")
    return float(found[1]) * _SECONDS[name]
