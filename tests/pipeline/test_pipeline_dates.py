"""Patterns of dates: Joda-Time's for writing and reading, java.time's for writing, and the filter date."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from printed import filtered

from cht_sync.errors import ConfigError
from cht_sync.pipeline.dates.iso8601 import read_iso8601
from cht_sync.pipeline.dates.java_time import Moment, compile_java
from cht_sync.pipeline.dates.joda_format import compile_joda
from cht_sync.pipeline.dates.joda_parse import compile_reader
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.templates import compile_template

THURSDAY = datetime(2020, 1, 2, 15, 4, 5, 678_000, tzinfo=UTC)
NOW = datetime(2026, 3, 29, 23, 59, 50)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("yyyy-MM-dd'T'HH:mm:ss.SSSZZ", "2020-01-02T15:04:05.678+00:00"),
        ("EEEE, d MMMM y G", "Thursday, 2 January 2020 AD"),
        ("K h k H a", "3 3 15 15 PM"),
        ("C xx ww e DDD", "20 20 01 4 002"),
        ("'o''clock' ''", "o'clock '"),
        ("z zzzz", "UTC Coordinated Universal Time"),
        ("S SS SSSSS", "6 67 67800"),
    ],
)
def test_joda_s_letters_are_written(pattern: str, text: str) -> None:
    assert compile_joda(pattern)(THURSDAY) == text


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("uuuu-MM-dd HH:mm:ss.SSSSSSSSS", "2020-01-02 15:04:05.678123456"),
        ("yy MMMMM LLL EEEEE eeee e c", "20 J Jan T Thursday 5 5"),
        ("QQQQ q QQQ", "1st quarter 1 Q1"),
        ("GGGG G GGGGG", "Anno Domini AD A"),
        ("h a K k D n A N", "3 PM 3 15 2 678123456 54245678 54245678123456"),
        ("X x xxx ZZZZ Z ZZZZZ O VV", "Z +00 +00:00 GMT +0000 Z GMT Z"),
        ("YYYY'W'ww W", "2020W01 1"),
        ("ppppH[':'mm]", "  15:04"),
        ("g", "58850"),
    ],
)
def test_java_s_letters_are_written(pattern: str, text: str) -> None:
    assert compile_java(pattern)(Moment(THURSDAY, 678_123_456)) == text


@pytest.mark.parametrize(
    ("day", "week"), [((2021, 1, 1), "2021-1"), ((2021, 1, 3), "2021-2"), ((2020, 12, 27), "2021-1")]
)
def test_java_s_weeks_begin_on_sunday_and_the_first_has_january_1st(
    day: tuple[int, int, int], week: str
) -> None:
    assert compile_java("YYYY-w")(Moment(datetime(*day, tzinfo=UTC), 0)) == week


@pytest.mark.parametrize(
    "template", ["%{+qqq}", "%{+YYYY b}", "%{{yyyy}", "%{{b}}", "%{{dddd}}", "%{{'a}}", "%{{]}}"]
)
def test_a_pattern_that_means_nothing_is_refused_when_it_is_compiled(template: str) -> None:
    with pytest.raises(ValueError, match="date pattern"):
        compile_template(template)


def test_time_now_is_the_present() -> None:
    before = datetime.now(UTC)
    written = datetime.fromisoformat(compile_template("%{{TIME_NOW}}")(Event()))
    assert before - timedelta(seconds=1) <= written <= datetime.now(UTC)


@given(st.text(alphabet="GCxyYMdahHkKmsSeEDwzZ'q -:[]{}#pQuLcXOVnAN") | st.text())
def test_any_pattern_is_a_date_s_or_is_refused(pattern: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(compile_joda(pattern)(THURSDAY), str)
    with contextlib.suppress(ValueError):
        assert isinstance(compile_java(pattern)(Moment(THURSDAY, 1)), str)


def read(pattern: str, text: str, zone: str = "UTC", language: str = "en") -> str:
    moment = compile_reader(pattern, language, lambda: NOW)(text, ZoneInfo(zone))
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00")


@pytest.mark.parametrize(
    ("pattern", "text", "moment"),
    [
        ("dd/MMM/yyyy:HH:mm:ss Z", "25/Mar/2013:20:33:56 +0000", "2013-03-25T20:33:56.000"),
        ("MMM dd HH:mm:ss Z", "Nov 24 01:29:01 -0800", "2026-11-24T09:29:01.000"),
        ("yyyy MMM d HH:mm:ss", "2013 jun 4 1:9:1", "2013-06-04T01:09:01.000"),
        ("yyyy-MM-dd hh:mm a", "2021-05-06 12:08 am", "2021-05-06T00:08:00.000"),
        ("yyyy-MM-dd kk", "2021-05-06 24", "2021-05-06T00:00:00.000"),
        ("yyyyMMddHHmmssSSS", "20210506070809123", "2021-05-06T07:08:09.123"),
        ("yyMMdd", "310506", "2031-05-06T00:00:00.000"),
        ("yyMMdd", "470506", "1947-05-06T00:00:00.000"),
        ("yy.MM.dd", "2021.05.06", "2021-05-06T00:00:00.000"),
        ("YYYY DDD", "2020 366", "2020-12-31T00:00:00.000"),
        ("EEE yyyy-MM-dd", "Mon 2021-05-06", "2021-05-03T00:00:00.000"),
        ("EEEE d MMMM yyyy G", "Thursday 6 MAY 2021 AD", "2021-05-06T00:00:00.000"),
        ("yyyy-MM-dd HH:mm ZZZ", "2021-05-06 07:08 America/New_York", "2021-05-06T11:08:00.000"),
        ("yyyy-MM-dd HH:mm z", "2021-01-06 07:08 PST", "2021-01-06T15:08:00.000"),
        ("yyyy-MM-dd'T'HH:mmZ", "2021-05-06t07:08z", "2021-05-06T07:08:00.000"),
        ("yyyy-MM-dd HH:mm:ss.SSS", "2021-05-06 07:08:09.5", "2021-05-06T07:08:09.500"),
        ("yyyy-MM", "2021-02", "2021-02-01T00:00:00.000"),
        ("HH:mm yyyy", "07:08 2021", "2021-01-01T07:08:00.000"),
    ],
)
def test_a_pattern_reads_as_joda_s(pattern: str, text: str, moment: str) -> None:
    assert read(pattern, text) == moment


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("yyyy-MM-dd", "2021-05-06 x"),
        ("yyyy-MM-dd", "2021-13-06"),
        ("yyyy-MM-dd", "0000-01-01"),
        ("yyyy-MM-dd", "10000-01-01"),
        ("yyyy-MM-dd HH:mm:ss", "2021-05-06 07:08:60"),
        ("yyyy-MM-dd hh", "2021-05-06 13"),
        ("yyyyMMdd", "202105"),
        ("yyyy G", "12 BC"),
        ("dd MMM yyyy", "06 Foo 2021"),
        ("yyyy Z", "2021 +25:00"),
        ("yyyy ZZZ", "2021 Nowhere/Town"),
        ("D yyyy", "366 2021"),
        ("xxxx-'W'ww", "2021-W53"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(pattern: str, text: str) -> None:
    with pytest.raises(ValueError):
        read(pattern, text)


@pytest.mark.parametrize(
    ("now", "text", "year"),
    [
        ((2014, 1, 1), "Dec 31 23:59:00", 2013),
        ((2013, 12, 31), "Jan 01 01:00:00", 2014),
        ((2016, 3, 29), "Mar 27 01:59:59", 2016),
    ],
)
def test_a_date_without_a_year_is_of_the_nearest_one(now: tuple[int, int, int], text: str, year: int) -> None:
    reader = compile_reader("MMM dd HH:mm:ss", clock=lambda: datetime(*now))
    assert reader(text, UTC).year == year


def test_a_time_that_the_clock_jumps_over_is_refused_and_of_two_the_earlier_is_meant() -> None:
    with pytest.raises(ValueError, match="jumps"):
        read("MMM dd HH:mm:ss", "Mar 29 02:30:00", "Europe/Prague")
    assert read("yyyy-MM-dd HH:mm", "2021-10-31 02:30", "Europe/Prague") == "2021-10-31T00:30:00.000"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("fr", "14 juillet 2021"),
        ("fr_FR", "14 juillet 2021"),
        ("es", "14 julio 2021"),
        ("sw", "14 Julai 2021"),
    ],
)
def test_names_of_months_are_those_of_the_locale(language: str, text: str) -> None:
    assert read("dd MMMM yyyy", text, language=language) == "2021-07-14T00:00:00.000"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2001-01-01T00:00:00-0800", "2001-01-01T08:00:00+00:00"),
        ("2021-W05-2T10", "2021-02-02T10:00:00+00:00"),
        ("2021-123", "2021-05-03T00:00:00+00:00"),
        ("2021-05-06T07:08.5", "2021-05-06T07:08:30+00:00"),
        ("2021-05-06T07,25Z", "2021-05-06T07:15:00+00:00"),
        ("2021-05-06T07:08:09.123456789+01:30", "2021-05-06T05:38:09.123000+00:00"),
        ("2021-05-06T+02", "2021-05-05T22:00:00+00:00"),
        ("T10:00", "1970-01-01T10:00:00+00:00"),
        ("2001-12-07 23:54:54,123Z", "2001-12-07T23:54:54.123000+00:00"),
    ],
)
def test_iso_8601_has_many_forms(text: str, moment: str) -> None:
    assert read_iso8601(text, UTC).isoformat() == moment


@pytest.mark.parametrize(
    "text", ["", "2021-05-06Z", "2021-05-06T07:08:09+1", "yesterday", "2021-05-06T7:8:61"]
)
def test_what_is_no_iso_8601_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_iso8601(text, UTC)


@given(st.datetimes(min_value=datetime(1000, 1, 1)), st.sampled_from(["en", "fr", "pt", "sw"]))
def test_what_is_written_by_a_pattern_is_read_by_it(moment: datetime, language: str) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    for pattern in ("yyyy-MM-dd HH:mm:ss.SSS Z", "YYYY DDD hh a mm ss SSS", "xxxx-'W'ww-e H:m:s.SSS ZZZ y"):
        if language == "en" or "a" not in pattern:
            text = compile_joda(pattern)(moment)
            if moment.year == moment.isocalendar().year:
                assert compile_reader(pattern, language)(text, UTC) == moment


@given(st.text(alphabet="0123456789-:TZW+,. ") | st.text())
def test_any_text_is_iso_8601_or_is_refused_as_one(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert read_iso8601(text, UTC).tzinfo is UTC


def dated(config: dict[str, Any], value: Any, **fields: Any) -> Event:
    (event,) = filtered("date", {"target": "at", **config}, Event({"t": value, **fields}))
    return event


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("1000000000123", "2001-09-09T01:46:40.123Z"),
        (1478207457.456, "2016-11-03T21:10:57.456Z"),
        (1.001, "1970-01-01T00:00:01.001Z"),
        (2147483647, "2038-01-19T03:14:07.000Z"),
        (2147483648, "1970-01-25T20:31:23.648Z"),
        ("1350414944.123999", "2012-10-16T19:15:44.123Z"),
    ],
)
def test_numbers_of_seconds_and_of_milliseconds_are_told_apart(value: Any, moment: str) -> None:
    assert str(dated({"match": ["t", "UNIX", "UNIX_MS"]}, value).get("at")) == moment


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("TAI64N", "4000"),
        ("UNIX_MS", 10**18),
        ("UNIX_MS", True),
        ("UNIX_MS", Decimal("1E+999999999")),
        ("UNIX", Decimal("1E+999999999")),
        ("UNIX", 1e300),
        ("UNIX", "1e5"),
        ("ISO8601", {"a": 1}),
        ("yyyy", "\ud800"),
    ],
)
def test_a_value_that_no_time_can_be_made_of_is_tagged(pattern: str, value: Any) -> None:
    event = dated({"match": ["t", pattern]}, value)
    assert event.get("tags") == ["_dateparsefailure"]
    assert not event.include("at")


def test_an_unknown_zone_in_an_event_is_tagged() -> None:
    event = dated({"match": ["t", "yyyy"], "timezone": "%{tz}"}, "2021", tz="../../etc/passwd")
    assert event.get("tags") == ["_dateparsefailure"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"match": ["t", "yyyy-qq"]}, "the format 'yyyy-qq': Illegal pattern component: qq"),
        ({"match": ["t"]}, "at least one format"),
        ({"match": ["t", "UNIX"], "locale": "xx-nowhere"}, "the locale 'xx-nowhere' is not known"),
        ({"match": ["t", "UNIX"], "timezone": "Nowhere/Town"}, "the time zone 'Nowhere/Town' is not known"),
    ],
)
def test_what_the_filter_cannot_do_is_refused_at_start(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        dated(config, "x")
