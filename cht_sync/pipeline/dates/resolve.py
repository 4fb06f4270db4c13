"""Dates and times out of what a pattern has read: Joda-Time's rules for fields that fit together or do not.

Fields are set one after another from the largest to the smallest, beginning with 1970-01-01, and then once
more: so a weekday that contradicts the date moves it within its week.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta

Fields = Mapping[str, int]

_FIRST = date(1970, 1, 1)


def resolve(fields: Fields, default_year: int) -> datetime:
    """Return the local time; `default_year` is for dates without a year. Raises ValueError."""
    named = [name for name in _SETTERS if name in fields]
    if named and named[0] in ("month", "week", "day_of_year", "day", "weekday"):
        fields = {**fields, "year": default_year}
        named.insert(0, "year")
    day = _FIRST
    for begin in (True, False):
        for name in named:
            day = _SETTERS[name](day, fields[name], begin)
    return datetime.combine(day, datetime.min.time()) + _time(fields)


def _time(fields: Fields) -> timedelta:
    hour = 12 * _within(fields, "half", 0, 1)
    if "hour" in fields:
        hour = _within(fields, "hour", 0, 23)
    if "hour_to_24" in fields:
        hour = _within(fields, "hour_to_24", 1, 24) % 24
    if "half_hour" in fields:
        hour = hour // 12 * 12 + _within(fields, "half_hour", 0, 11)
    if "half_hour_to_12" in fields:
        hour = hour // 12 * 12 + _within(fields, "half_hour_to_12", 1, 12) % 12
    return timedelta(
        hours=hour,
        minutes=_within(fields, "minute", 0, 59),
        seconds=_within(fields, "second", 0, 59),
        milliseconds=fields.get("millisecond", 0),
    )


def _within(fields: Fields, name: str, least: int, most: int) -> int:
    if name not in fields:
        return 0
    if not least <= fields[name] <= most:
        raise ValueError(f"{fields[name]} is no {name}: from {least} to {most}")
    return fields[name]


def _set_era(day: date, era: int, _begin: bool) -> date:
    if era != 1:
        raise ValueError("years before 1 are not supported")
    return day


def _set_century(day: date, century: int, begin: bool) -> date:
    return _set_year(day, century * 100 + day.year % 100, begin)


def _set_year(day: date, year: int, begin: bool) -> date:
    if begin:
        return date(year, 1, 1)
    return _in_month(year, day.month, day.day)


def _set_week_year(day: date, year: int, begin: bool) -> date:
    if begin:
        return date.fromisocalendar(year, 1, 1)
    _, week, weekday = day.isocalendar()
    last = date(year, 12, 28).isocalendar().week
    return date.fromisocalendar(year, min(week, last), weekday)


def _set_month(day: date, month: int, begin: bool) -> date:
    return _in_month(day.year, month, 1 if begin else day.day)


def _set_week(day: date, week: int, begin: bool) -> date:
    year, _, weekday = day.isocalendar()
    return date.fromisocalendar(year, week, 1 if begin else weekday)


def _set_day_of_year(day: date, number: int, _begin: bool) -> date:
    moved = date(day.year, 1, 1) + timedelta(days=number - 1)
    if moved.year != day.year:
        raise ValueError(f"the year {day.year} has no day {number}")
    return moved


def _set_day(day: date, number: int, _begin: bool) -> date:
    return day.replace(day=number)


def _set_weekday(day: date, number: int, _begin: bool) -> date:
    year, week, _ = day.isocalendar()
    return date.fromisocalendar(year, week, number)


def _in_month(year: int, month: int, day: int) -> date:
    """Return the day, or the last one of a month that does not have it."""
    if not 1 <= month <= 12:
        raise ValueError(f"there is no month {month}")
    return date(year, month, min(day, monthrange(year, month)[1]))


_SETTERS: dict[str, Callable[[date, int, bool], date]] = {
    "era": _set_era,
    "century": _set_century,
    "year": _set_year,
    "week_year": _set_week_year,
    "month": _set_month,
    "week": _set_week,
    "day_of_year": _set_day_of_year,
    "day": _set_day,
    "weekday": _set_weekday,
}
"""In the order in which they are set; each with whether it puts what is smaller to its beginning."""
