from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cht_sync.transform.pace import MOST_BETWEEN_RETRIES, Pace

OLD = datetime(2026, 1, 1, tzinfo=UTC)
NEW = OLD + timedelta(microseconds=1)


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


def test_a_failed_run_is_tried_again_later_and_later() -> None:
    pace = Pace(5)
    now, waits = 1000.0, []
    for _ in range(10):
        pace.ran(OLD, started=now, ended=now, succeeded=False)
        wait = next(seconds for seconds in range(1, 1000) if pace.due(OLD, now + seconds))
        waits.append(wait)
        now += wait
    assert waits[0] <= 7
    assert waits[-1] > waits[0]
    assert max(waits) <= MOST_BETWEEN_RETRIES * 1.25 + 1


def test_new_data_does_not_wait_for_the_next_try() -> None:
    pace = Pace(5)
    for _ in range(6):
        pace.ran(OLD, started=1000, ended=1000, succeeded=False)
    assert pace.due(NEW, now=1005)


def test_a_success_ends_the_retries() -> None:
    pace = Pace(5)
    pace.ran(OLD, started=1000, ended=1000, succeeded=False)
    pace.ran(OLD, started=1010, ended=1010, succeeded=True)
    assert not pace.due(OLD, now=99999)
