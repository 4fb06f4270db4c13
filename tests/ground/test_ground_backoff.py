"""Waiting times double up to a limit, and many waiters do not come back together."""

from __future__ import annotations

from itertools import islice

from cht_sync.backoff import delays


def test_delays_double_up_to_the_limit_with_a_jitter_of_a_quarter() -> None:
    middles = [0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    for delay, middle in zip(delays(first=0.2, most=2.0), middles, strict=False):
        assert middle * 0.75 <= delay <= middle * 1.25


def test_delays_never_end() -> None:
    assert len(list(islice(delays(), 2_000))) == 2_000


def test_two_waiters_wait_differently() -> None:
    assert list(islice(delays(), 5)) != list(islice(delays(), 5))
