"""Times as text by Joda-Time's patterns: `%{+YYYY.MM.dd}`.

Always in UTC, to the millisecond and with English names, as in Logstash.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cht_sync.pipeline.dates.joda import Part, parse_pattern
from cht_sync.pipeline.dates.names import DAYS, MONTHS

Piece = Callable[[datetime], str]

_NUMBERS: dict[str, Callable[[datetime], int]] = {
    "C": lambda at: at.year // 100,
    "y": lambda at: at.year,
    "Y": lambda at: at.year,
    "x": lambda at: at.isocalendar().year,
    "w": lambda at: at.isocalendar().week,
    "e": lambda at: at.isoweekday(),
    "D": lambda at: at.timetuple().tm_yday,
    "M": lambda at: at.month,
    "d": lambda at: at.day,
    "H": lambda at: at.hour,
    "k": lambda at: at.hour or 24,
    "K": lambda at: at.hour % 12,
    "h": lambda at: at.hour % 12 or 12,
    "m": lambda at: at.minute,
    "s": lambda at: at.second,
}
_ZONE = {1: "+0000", 2: "+00:00"}


def compile_joda(pattern: str) -> Piece:
    """Return a function that writes a time in UTC. Raises ValueError for what is no pattern."""
    pieces = [_piece(part) for part in parse_pattern(pattern)]
    return lambda at: "".join([piece(at) for piece in pieces])


def _piece(part: Part) -> Piece:  # noqa: PLR0911 (one kind each)
    letter, length, text = part
    match letter:
        case "":
            return lambda _at: text
        case "G":
            return lambda _at: "AD"
        case "a":
            return lambda at: "AM" if at.hour < 12 else "PM"
        case "E":
            cut = None if length > 3 else 3
            return lambda at: DAYS[at.weekday()][:cut]
        case "M" if length > 2:
            cut = None if length > 3 else 3
            return lambda at: MONTHS[at.month - 1][:cut]
        case "S":
            return lambda at: f"{at.microsecond // 1000:03d}".ljust(length, "0")[:length]
        case "z":
            return lambda _at: "Coordinated Universal Time" if length > 3 else "UTC"
        case "Z":
            return lambda _at: _ZONE.get(length, "UTC")
    number = _NUMBERS[letter]
    if length == 2 and letter in "xyY":
        return lambda at: f"{number(at) % 100:02d}"
    return lambda at: str(number(at)).zfill(length)
