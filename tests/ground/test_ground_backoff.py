"""Waiting times double up to a limit, and many waiters do not come back together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import islice

import pytest

from cht_sync.backoff import LONGEST_REQUESTED, delays, requested


def test_delays_double_up_to_the_limit_with_a_jitter_of_a_quarter() -> None:
    middles = [0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    for delay, middle in zip(delays(first=0.2, most=2.0), middles, strict=False):
        assert middle * 0.75 <= delay <= middle * 1.25


def test_delays_never_end() -> None:
    assert len(list(islice(delays(), 2_000))) == 2_000


def test_two_waiters_wait_differently() -> None:
    assert list(islice(delays(), 5)) != list(islice(delays(), 5))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        (" 120 ", 120),
        ("0", 0),
        ("86400", LONGEST_REQUESTED),
        ("9" * 400, LONGEST_REQUESTED),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("\u0663", 0),
        ("", 0),
        (None, 0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0),
        ("Fri, 31 Dec 2199 23:59:59 GMT", LONGEST_REQUESTED),
    ],
)
def test_a_server_is_left_alone_for_as_long_as_it_asks_within_bounds(
    status: int, text: str | None, seconds: float
) -> None:
    assert requested(status, text) == seconds


@pytest.mark.parametrize("zone", [" GMT", " +0000", ""])
def test_the_time_to_come_back_may_be_a_date(zone: str) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True).removesuffix(" GMT")
    assert 0 < requested(503, at + zone) <= 100


@pytest.mark.parametrize("status", [200, 301, 400, 500, 502, 504])
def test_other_answers_ask_for_nothing(status: int) -> None:
    assert requested(status, "7") == 0
