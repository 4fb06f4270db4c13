from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cht_sync.transform.pace import Pace

OLD = datetime(2026, 1, 1, tzinfo=UTC)
NEW = OLD + timedelta(microseconds=1)
FIVE_MINUTES = 300


def test_the_first_run_is_due_at_once_even_without_a_document() -> None:
    assert Pace(5).due(None, now=1000)


def test_without_a_change_no_run_is_due() -> None:
    pace = Pace(5)
    pace.ran(OLD, started=1000, ended=1001, succeeded=True)
    assert not pace.due(OLD, now=9999)


def test_a_change_is_due_once_the_interval_has_passed() -> None:
    pace = Pace(5)
    pace.ran(OLD, started=1000, ended=1001, succeeded=True)
    assert not pace.due(NEW, now=1004.9)
    assert pace.due(NEW, now=1005)


def test_where_dbt_fails_it_is_tried_later_and_later_and_within_five_minutes() -> None:
    pace = Pace(5)
    now, waits = 1000.0, []
    for _ in range(10):
        pace.ran(OLD, started=now, ended=now, succeeded=False)
        wait = next(seconds for seconds in range(1, 1000) if pace.due(OLD, now + seconds))
        waits.append(wait)
        now += wait
    assert 5 <= waits[0] <= 7
    assert waits[-1] > waits[0]
    assert max(waits) <= FIVE_MINUTES


def test_data_does_not_wake_a_dbt_that_fails_before_its_next_try() -> None:
    pace = Pace(5)
    for _ in range(6):
        pace.ran(OLD, started=1000, ended=1000, succeeded=False)
    assert not pace.due(NEW, now=1006)
    assert pace.due(NEW, now=1000 + FIVE_MINUTES)


def test_a_success_ends_the_retries() -> None:
    pace = Pace(5)
    pace.ran(OLD, started=1000, ended=1000, succeeded=False)
    pace.ran(OLD, started=1010, ended=1010, succeeded=True)
    assert not pace.due(OLD, now=99999)


def test_what_did_not_fit_into_a_run_is_due_after_the_interval() -> None:
    pace = Pace(5)
    pace.ran(OLD, started=1000, ended=1001, succeeded=True, again=True)
    assert not pace.due(OLD, now=1004.9)
    assert pace.due(OLD, now=1005)


def test_after_a_reset_a_run_is_due_without_a_change() -> None:
    pace = Pace(5)
    pace.ran(OLD, started=1000, ended=1001, succeeded=True)
    pace.reset()
    assert pace.due(OLD, now=1005)


def test_an_interval_beyond_five_minutes_is_kept_after_a_failure() -> None:
    pace = Pace(900)
    pace.ran(OLD, started=1000, ended=1000, succeeded=False)
    assert not pace.due(NEW, now=1899)
    assert pace.due(OLD, now=1900)
