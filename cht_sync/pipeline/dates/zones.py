"""Time zones by the names that Joda-Time takes: `Europe/Paris`, `UTC`, `+02:00`."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_OFFSET = re.compile(
    r"(?P<sign>[+-])(?P<hours>[01][0-9]|2[0-3])"
    r"(?::(?P<minutes>[0-5][0-9])(?::(?P<seconds>[0-5][0-9]))?"
    r"|(?P<minutes2>[0-5][0-9])(?P<seconds2>[0-5][0-9])?)?",
    re.ASCII,
)
_OF_ABBREVIATIONS = {
    **dict.fromkeys(("UT", "UTC", "GMT"), "UTC"),
    **dict.fromkeys(("EST", "EDT"), "America/New_York"),
    **dict.fromkeys(("CST", "CDT"), "America/Chicago"),
    **dict.fromkeys(("MST", "MDT"), "America/Denver"),
    **dict.fromkeys(("PST", "PDT"), "America/Los_Angeles"),
}
_LOCAL_TIME = Path("/etc/localtime")


@lru_cache(maxsize=1024)
def zone_of(name: str) -> tzinfo:
    """Return a zone by its name or offset. Raises ValueError for an unknown one."""
    if name in ("UTC", "UT", "GMT", "Z"):
        return UTC
    found = _OFFSET.fullmatch(re.sub(r"\A(?:UTC|UT|GMT)(?=[+-])", "", name))
    if found is not None:
        return timezone(offset_of(found))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"the time zone {name!r} is not known (zones are read from the package tzdata)"
        ) from None


def local_zone() -> tzinfo:
    """Return the zone of the machine: that of TZ, else /etc/localtime, else UTC."""
    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return zone_of(name)
        with _LOCAL_TIME.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC


def offset_at(text: str, position: int) -> tuple[timedelta, int] | None:
    """Return the offset that stands in `text` at `position`, and where it ends; `Z` is none from UTC."""
    if text[position : position + 1] in ("Z", "z"):
        return timedelta(), position + 1
    found = _OFFSET.match(text, position)
    return None if found is None else (offset_of(found), found.end())


def offset_of(found: re.Match[str]) -> timedelta:
    """Return the offset of a match."""
    offset = timedelta(
        hours=int(found["hours"]),
        minutes=int(found["minutes"] or found["minutes2"] or 0),
        seconds=int(found["seconds"] or found["seconds2"] or 0),
    )
    return -offset if found["sign"] == "-" else offset


def zone_at(text: str, position: int, *, abbreviated: bool) -> tuple[tzinfo, int] | None:
    """Return the zone whose name, the longest, stands at `position`, and where it ends."""
    names = _OF_ABBREVIATIONS if abbreviated else _names()
    longest = min(len(text), position + 40)
    for end in range(longest, position, -1):
        name = text[position:end]
        if name in names:
            return zone_of(_OF_ABBREVIATIONS[name] if abbreviated else name), end
    return None


def to_utc(local: datetime, zone: tzinfo) -> datetime:
    """Return the moment of a local time, the earlier of two. Raises ValueError where there is none."""
    try:
        moment = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    except OverflowError:
        raise ValueError("outside the years 1 to 9999 in UTC") from None
    if moment.astimezone(zone).replace(tzinfo=None) != local:
        raise ValueError("the clock of this zone jumps over this time")
    return moment


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones()) | {"UTC"}
