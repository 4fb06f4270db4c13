"""ISO 8601 as the filter date reads it: Joda-Time's `dateTimeParser`, and four forms with a blank for the T.

Dates may end at the month or the year, be dates of weeks (`2021-W05-1`) or days of years (`2021-123`); times
may end at the hour or the minute, with a fraction of what is last; fractions are cut to milliseconds.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo

from cht_sync.pipeline.dates.joda_parse import compile_reader
from cht_sync.pipeline.dates.resolve import resolve
from cht_sync.pipeline.dates.zones import offset_at, to_utc

_FIRST_YEAR = 1970
_YEAR = r"(?P<year>[+-]?[0-9]{1,9})"
_DATE = (
    rf"(?:{_YEAR}(?:-(?:(?P<month>[0-9]{{1,2}})(?:-(?P<day>[0-9]{{1,2}}))?|(?P<day_of_year>[0-9]{{1,3}})))?"
    r"|(?P<week_year>[+-]?[0-9]{1,9})-[Ww](?P<week>[0-9]{1,2})(?:-(?P<weekday>[0-9]))?)"
)
_TIME = (
    r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{1,2})(?::(?P<second>[0-9]{1,2}))?)?"
    r"(?:[.,](?P<fraction>[0-9]{1,9}))?"
)
_ZONE = r"(?P<zone>[Zz+-].*)?"
_TIME_ALONE = f"[Tt]{_TIME}{_ZONE}".replace("P<", "P<alone_")
_ISO = re.compile(rf"{_DATE}(?:[Tt](?:{_TIME})?{_ZONE})?|{_TIME_ALONE}", re.ASCII)
_FIELDS = ("year", "month", "day", "day_of_year", "week_year", "week", "weekday", "hour", "minute", "second")
_WITH_A_BLANK = tuple(
    compile_reader(pattern)
    for pattern in (
        "yyyy-MM-dd HH:mm:ss.SSSZ",
        "yyyy-MM-dd HH:mm:ss.SSS",
        "yyyy-MM-dd HH:mm:ss,SSSZ",
        "yyyy-MM-dd HH:mm:ss,SSS",
    )
)


def read_iso8601(text: str, zone: tzinfo) -> datetime:
    """Return the moment in UTC; `zone` is for texts without one. Raises ValueError."""
    found = _ISO.fullmatch(text)
    if found is None:
        return _with_a_blank(text, zone)
    groups = {name.removeprefix("alone_"): value for name, value in found.groupdict().items() if value}
    fields = {name: int(groups[name]) for name in _FIELDS if name in groups}
    local = resolve(fields, _FIRST_YEAR)
    if "fraction" in groups:
        unit = 1 if "second" in fields else 60 if "minute" in fields else 3600
        milliseconds = int(groups["fraction"].ljust(9, "0")) * unit // 1_000_000
        local += timedelta(milliseconds=milliseconds)
    if "zone" in groups:
        offset = offset_at(groups["zone"], 0)
        if offset is None or offset[1] < len(groups["zone"]):
            raise ValueError("the offset from UTC is none")
        zone = timezone(offset[0])
    return to_utc(local, zone)


def _with_a_blank(text: str, zone: tzinfo) -> datetime:
    for read in _WITH_A_BLANK:
        try:
            return read(text, zone)
        except ValueError:
            continue
    raise ValueError("not ISO 8601")
