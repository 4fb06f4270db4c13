"""The log of failing requests: a line for each kind, and one when all is well again."""

from __future__ import annotations

import logging

import pytest

from cht_sync.ingest import failed_requests
from cht_sync.ingest.failed_requests import ALL, MOST_KINDS, SAY_AGAIN, FailedRequests


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Clock:
    made = Clock()
    monkeypatch.setattr(failed_requests, "time", made)
    caplog.set_level(logging.WARNING)
    return made


def test_what_follows_is_counted_and_said_a_minute_later(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    requests = FailedRequests()
    for _ in range(5):
        requests.failed("POST /medic", 503, "PGRST001")
    clock.now += SAY_AGAIN
    requests.failed("POST /medic", 503, "PGRST001")
    assert caplog.messages == [
        "POST /medic: 503 PGRST001",
        "POST /medic: 503 PGRST001 (5 times since it was said last)",
    ]
    assert [record.fields["requests"] for record in caplog.records] == [1, 5]  # type: ignore[attr-defined]


def test_the_end_is_said_once_and_with_how_long_it_took(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    requests = FailedRequests()
    requests.succeeded("POST /medic")
    for _ in range(3):
        requests.failed("POST /medic", 503, "PGRST001")
    clock.now += 90
    requests.succeeded("POST /medic")
    requests.succeeded("POST /medic")
    assert caplog.messages[1:] == ["POST /medic: answered again after 90.0 s, in which 3 failed"]


def test_what_succeeds_elsewhere_is_not_the_end(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    requests = FailedRequests()
    for _ in range(10):
        requests.failed("POST /medic", 500, "XX000")
        requests.succeeded("POST /medic-sentinel")
        requests.succeeded("GET /medic")
        clock.now += 1
    assert caplog.messages == ["POST /medic: 500 XX000"]
    requests.succeeded("POST /medic")
    assert caplog.messages[1:] == ["POST /medic: answered again after 10.0 s, in which 10 failed"]


def test_what_fails_for_all_ends_with_any_success(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    requests = FailedRequests()
    requests.failed(ALL, 503, "PGRST002")
    clock.now += 5
    requests.succeeded("GET /docs")
    assert caplog.messages[1:] == ["all requests: answered again after 5.0 s, in which 1 failed"]


def test_what_fails_every_now_and_then_recovers_once_a_minute(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    requests = FailedRequests()
    for _ in range(30):
        requests.failed("POST /medic", 500, "XX000")
        clock.now += 0.5
        requests.succeeded("POST /medic")
        clock.now += 0.5
    recovered = [one for one in caplog.messages if "again" in one]
    assert recovered == ["POST /medic: answered again after 0.5 s, in which 1 failed"]
    clock.now += SAY_AGAIN
    caplog.clear()
    requests.look()
    assert caplog.messages == [
        "POST /medic: 500 XX000 (29 times since it was said last)",
        "POST /medic: answered again after 28.5 s, in which 29 failed",
    ]


def test_a_refused_document_is_no_outage(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    requests = FailedRequests()
    requests.failed("POST /medic", 400, "22P02")
    requests.succeeded("POST /medic")
    assert caplog.messages == ["POST /medic: 400 22P02"]


def test_a_thousand_different_paths_are_not_a_thousand_lines(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    requests = FailedRequests()
    for number in range(1000):
        requests.failed(f"GET /{number}", 404, "PGRST205")
    assert len(caplog.messages) == MOST_KINDS + 1


def test_a_burst_is_counted_also_where_nothing_follows(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    requests = FailedRequests()
    for _ in range(5):
        requests.failed("POST /medic", 503, "PGRST001")
    clock.now += SAY_AGAIN - 1
    requests.look()
    assert len(caplog.messages) == 1
    clock.now += 1
    requests.look()
    requests.look()
    assert caplog.messages[1:] == ["POST /medic: 503 PGRST001 (4 times since it was said last)"]


def test_what_is_left_is_said_at_the_end(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    requests = FailedRequests()
    for _ in range(3):
        requests.failed("POST /medic", 503, "PGRST001")
    requests.look(at_end=True)
    assert caplog.messages[1:] == ["POST /medic: 503 PGRST001 (2 times since it was said last)"]


def test_kinds_that_are_over_make_room_for_others(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    requests = FailedRequests()
    for number in range(MOST_KINDS):
        requests.failed(f"GET /{number}", 404, "PGRST205")
    clock.now += SAY_AGAIN
    requests.look()
    requests.failed("POST /medic", 403, "42501")
    assert caplog.messages[MOST_KINDS:] == ["POST /medic: 403 42501"]
