"""Times out of texts by Joda-Time's patterns: what the filter date does for every pattern that has no name.

Where Joda-Time is lenient this is too: `dd` reads one digit or two, `MMM` reads long names and short ones,
letters may be small or capital. Years before 1 and after 9999 are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timezone, tzinfo

from cht_sync.pipeline.dates.joda import Part, parse_pattern
from cht_sync.pipeline.dates.names import Names, names_of
from cht_sync.pipeline.dates.resolve import resolve
from cht_sync.pipeline.dates.zones import offset_at, to_utc, zone_at

Clock = Callable[[], datetime]


@dataclass
class _Read:
    """What was read so far; `zone` is that of the text, where it has one."""

    text: str
    position: int = 0
    fields: dict[str, int] = field(default_factory=dict)
    zone: tzinfo | None = None


Element = Callable[[_Read], None]

_SIGNED = re.compile(r"[+-]?[0-9]+", re.ASCII)
_LONGEST = {"D": 3, "e": 1}
_FIELDS = {
    "C": "century",
    "y": "year",
    "Y": "year",
    "x": "week_year",
    "M": "month",
    "w": "week",
    "D": "day_of_year",
    "d": "day",
    "e": "weekday",
    "H": "hour",
    "k": "hour_to_24",
    "K": "half_hour",
    "h": "half_hour_to_12",
    "m": "minute",
    "s": "second",
}
_MOST_YEAR_DIGITS = 9


def compile_reader(
    pattern: str, language: str = "en", clock: Clock = datetime.now
) -> Callable[[str, tzinfo], datetime]:
    """Return a function that reads a text in a zone, for texts without one, and gives the moment in UTC.

    The function raises ValueError for a text that does not fit. A pattern without a year means the one that
    is nearest around New Year, else this year. Raises ValueError for what is no pattern.
    """
    parts = parse_pattern(pattern)
    names = names_of(language)
    following = [*parts[1:], Part("", 0)]
    elements = [_element(part, after, names, clock) for part, after in zip(parts, following, strict=True)]
    has_year = "y" in pattern or "Y" in pattern

    def read(text: str, zone: tzinfo) -> datetime:
        state = _Read(text)
        for element in elements:
            element(state)
        if state.position < len(text):
            raise ValueError("there is more text than the pattern has")
        now = clock()
        moment = to_utc(resolve(state.fields, now.year), state.zone or zone)
        return moment if has_year else _in_the_nearest_year(moment, zone, now)

    return read


def _in_the_nearest_year(moment: datetime, zone: tzinfo, now: datetime) -> datetime:
    local = moment.astimezone(zone)
    year = now.year
    if (local.month, now.month) == (12, 1):
        year -= 1
    elif (local.month, now.month) == (1, 12):
        year += 1
    return local.replace(year=year).astimezone(UTC)


def _element(part: Part, following: Part, names: Names, clock: Clock) -> Element:  # noqa: PLR0911 (one kind each)
    letter, length, text = part
    match letter:
        case "":
            return _literal(text)
        case "G":
            return _word(names.eras, "era")
        case "a":
            return _word(names.halves, "half")
        case "E":
            return _word(names.days, "weekday")
        case "M" if length > 2:
            return _word(names.months, "month")
        case "S":
            return _fraction(length)
        case "z":
            return _zone(abbreviated=True)
        case "Z":
            return _offset if length < 3 else _zone(abbreviated=False)
        case "x" | "y" | "Y":
            return _year(_FIELDS[letter], part, following, clock)
        case "C":
            return _number("century", length)
    return _number(_FIELDS[letter], max(length, _LONGEST.get(letter, 2)))


def _literal(text: str) -> Element:
    def read(state: _Read) -> None:
        end = state.position + len(text)
        if state.text[state.position : end].lower() != text.lower():
            raise ValueError(f"expected {text!r}")
        state.position = end

    return read


def _number(name: str, most: int, *, signed: bool = False) -> Element:
    digits = re.compile(rf"{'[+-]?' if signed else ''}[0-9]{{1,{most}}}", re.ASCII)

    def read(state: _Read) -> None:
        state.fields[name] = int(_match(digits, state)[0])

    return read


def _year(name: str, part: Part, following: Part, clock: Clock) -> Element:
    if part.length != 2:
        return _number(
            name,
            part.length if following.is_numeric else _MOST_YEAR_DIGITS,
            signed=part.letter != "Y",
        )
    two_digits = re.compile(r"[0-9]{2}", re.ASCII)
    lenient = not following.is_numeric

    def read(state: _Read) -> None:
        text = _match(_SIGNED if lenient else two_digits, state)[0]
        year = int(text)
        if len(text) == 2 and text.isdigit():
            # A window of a century that ends nineteen years from now.
            first = clock().year - 80
            year = first + (year - first) % 100
        state.fields[name] = year

    return read


def _word(known: Mapping[str, int], name: str) -> Element:
    longest = max(map(len, known))

    def read(state: _Read) -> None:
        for end in range(min(len(state.text), state.position + longest), state.position, -1):
            number = known.get(state.text[state.position : end])
            if number is not None:
                state.fields[name], state.position = number, end
                return
        raise ValueError(f"expected the name of a {name}")

    return read


def _fraction(most: int) -> Element:
    digits = re.compile(rf"[0-9]{{1,{most}}}", re.ASCII)

    def read(state: _Read) -> None:
        state.fields["millisecond"] = int(_match(digits, state)[0][:3].ljust(3, "0"))

    return read


def _offset(state: _Read) -> None:
    found = offset_at(state.text, state.position)
    if found is None:
        raise ValueError("expected an offset from UTC")
    offset, state.position = found
    state.zone = timezone(offset)


def _zone(*, abbreviated: bool) -> Element:
    def read(state: _Read) -> None:
        found = zone_at(state.text, state.position, abbreviated=abbreviated)
        if found is None:
            raise ValueError("expected a time zone")
        state.zone, state.position = found

    return read


def _match(pattern: re.Pattern[str], state: _Read) -> re.Match[str]:
    found = pattern.match(state.text, state.position)
    if found is None:
        raise ValueError("expected a number")
    state.position = found.end()
    return found
