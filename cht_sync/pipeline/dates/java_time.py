"""Times as text by java.time's patterns: `%{{yyyy-MM-dd}}`.

Always in UTC and with English names; weeks begin on Sunday and the first one has January 1st, as where the
language is English. Source: java.time.format.DateTimeFormatterBuilder. Refused are letters whose meaning
depends on Java's version (`B`, `F`, `v`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import NamedTuple

from cht_sync.pipeline.dates.names import DAYS, MONTHS

_TOKEN = re.compile(r"(?P<letters>([A-Za-z])\2*)|(?P<quoted>'(?:[^']|'')*')|(?P<text>.)", re.DOTALL)
_MODIFIED_JULIAN = date(1858, 11, 17)
_QUARTERS = ("1st quarter", "2nd quarter", "3rd quarter", "4th quarter")
_ERAS = {4: "Anno Domini", 5: "A"}
_SMALL_OFFSETS = {1: "+00", 2: "+0000", 3: "+00:00", 4: "+0000", 5: "+00:00"}


class Moment(NamedTuple):
    """A time in UTC, its second and what goes beyond in nanoseconds."""

    at: datetime
    nanosecond: int


Piece = Callable[[Moment], str]
Number = Callable[[Moment], int]


def compile_java(pattern: str) -> Piece:
    """Return a function that writes a time. Raises ValueError for what is no pattern."""
    pieces: list[Piece] = []
    width = depth = 0
    for found in _TOKEN.finditer(pattern):
        if found["text"] and found["text"] in "[]":
            depth += 1 if found["text"] == "[" else -1
            if depth < 0:
                raise ValueError("a ] without [ before it")
            continue
        letters = found["letters"] or ""
        if letters.startswith("p"):
            width = len(letters)
            continue
        piece = _letters(letters[0], len(letters)) if letters else _text(found)
        pieces.append(_padded(piece, width) if width else piece)
        width = 0
    if width:
        raise ValueError("the pad letter p must be followed by what it pads")
    return lambda moment: "".join([piece(moment) for piece in pieces])


def _text(found: re.Match[str]) -> Piece:
    text = found["text"] or found["quoted"][1:-1].replace("''", "'") or "'"
    if text in "{}#" or found["text"] == "'":
        raise ValueError(f"{text} must stand between quotes, and quotes in pairs")
    return lambda _moment: text


def _padded(piece: Piece, width: int) -> Piece:
    return lambda moment: piece(moment).rjust(width)


def _letters(letter: str, count: int) -> Piece:
    for names, most, make in _KINDS:
        if letter in names:
            if count > most:
                raise ValueError(f"Too many pattern letters: {letter * count}")
            return make(letter, count)
    raise ValueError(f"Unknown pattern letter: {letter}")


def _year(letter: str, count: int) -> Piece:
    number: Number = _week_year if letter == "Y" else lambda moment: moment.at.year
    if count == 2:
        return lambda moment: f"{number(moment) % 100:02d}"
    return _number(number, count)


def _month(_letter: str, count: int) -> Piece:
    return _named(lambda moment: moment.at.month, MONTHS, count)


def _quarter(_letter: str, count: int) -> Piece:
    def quarter(moment: Moment) -> int:
        return (moment.at.month + 2) // 3

    if count == 3:
        return lambda moment: f"Q{quarter(moment)}"
    return _named(quarter, _QUARTERS, count)


def _weekday(letter: str, count: int) -> Piece:
    if count < 3 and letter != "E":
        if letter == "c" and count == 2:
            raise ValueError("Invalid pattern: cc")
        return _number(lambda moment: moment.at.isoweekday() % 7 + 1, count)
    return _named(lambda moment: moment.at.isoweekday(), DAYS, max(count, 3))


def _named(number: Number, names: tuple[str, ...], count: int) -> Piece:
    if count < 3:
        return _number(number, count)
    cut = {3: 3, 4: None, 5: 1}[count]
    return lambda moment: names[number(moment) - 1][:cut]


def _day_of_year(_letter: str, count: int) -> Piece:
    return _number(lambda moment: moment.at.timetuple().tm_yday, count)


def _plain(letter: str, count: int) -> Piece:
    return _number(_PLAIN[letter], count)


def _fraction(_letter: str, count: int) -> Piece:
    return lambda moment: f"{moment.nanosecond:09d}"[:count]


def _fixed(letter: str, count: int) -> Piece:
    text = {
        "G": _ERAS.get(count, "AD"),
        "O": "GMT",
        "X": "Z",
        "x": _SMALL_OFFSETS.get(count, ""),
        "z": "Z",
        "V": "Z",
        "Z": {4: "GMT", 5: "Z"}.get(count, "+0000"),
    }[letter]
    if (letter == "O" and count not in (1, 4)) or (letter == "V" and count != 2):
        raise ValueError(f"Pattern letter count must be {'1 or 4' if letter == 'O' else '2'}: {letter}")
    return lambda _moment: text


def _half(_letter: str, _count: int) -> Piece:
    return lambda moment: "AM" if moment.at.hour < 12 else "PM"


def _number(number: Number, width: int) -> Piece:
    return lambda moment: str(number(moment)).zfill(width)


def _week_end(day: date) -> date:
    return day + timedelta(days=6 - day.isoweekday() % 7)


def _week_year(moment: Moment) -> int:
    return _week_end(moment.at.date()).year


def _week(moment: Moment) -> int:
    end = _week_end(moment.at.date())
    return (end.timetuple().tm_yday + 6) // 7


def _week_of_month(moment: Moment) -> int:
    first = moment.at.replace(day=1)
    return (moment.at.day - 1 + first.isoweekday() % 7) // 7 + 1


def _second_of_day(moment: Moment) -> int:
    return moment.at.hour * 3600 + moment.at.minute * 60 + moment.at.second


_PLAIN: dict[str, Number] = {
    "d": lambda moment: moment.at.day,
    "h": lambda moment: moment.at.hour % 12 or 12,
    "H": lambda moment: moment.at.hour,
    "k": lambda moment: moment.at.hour or 24,
    "K": lambda moment: moment.at.hour % 12,
    "m": lambda moment: moment.at.minute,
    "s": lambda moment: moment.at.second,
    "w": _week,
    "W": _week_of_month,
    "n": lambda moment: moment.nanosecond,
    "A": lambda moment: _second_of_day(moment) * 1000 + moment.nanosecond // 1_000_000,
    "N": lambda moment: _second_of_day(moment) * 1_000_000_000 + moment.nanosecond,
    "g": lambda moment: (moment.at.date() - _MODIFIED_JULIAN).days,
}
_KINDS: tuple[tuple[str, int, Callable[[str, int], Piece]], ...] = (
    ("uyY", 19, _year),
    ("ML", 5, _month),
    ("Qq", 5, _quarter),
    ("Eec", 5, _weekday),
    ("D", 3, _day_of_year),
    ("dhHkKmsw", 2, _plain),
    ("W", 1, _plain),
    ("Ang", 19, _plain),
    ("N", 19, _plain),
    ("S", 9, _fraction),
    ("a", 1, _half),
    ("GXxZ", 5, _fixed),
    ("OVz", 4, _fixed),
)
"""Letters, how often one may stand there at most, and what makes a piece of it."""
