"""The log of failing requests: a line for each kind, and one when all is well again."""

from __future__ import annotations

import logging

import pytest

from cht_sync.ingest import failed_requests
from cht_sync.ingest.failed_requests import MOST_KINDS, SAY_AGAIN, FailedRequests


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
    requests.succeeded()
    for _ in range(3):
        requests.failed("POST /medic", 503, "PGRST001")
    clock.now += 90
    requests.succeeded()
    requests.succeeded()
    assert caplog.messages[1:] == ["requests are answered again after 90.0 s, in which 3 failed"]


def test_a_refused_document_is_no_outage(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    requests = FailedRequests()
    requests.failed("POST /medic", 400, "22P02")
    requests.succeeded()
    assert caplog.messages == ["POST /medic: 400 22P02"]


def test_a_thousand_different_paths_are_not_a_thousand_lines(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    requests = FailedRequests()
    for number in range(1000):
        requests.failed(f"GET /{number}", 404, "PGRST205")
    assert len(caplog.messages) == MOST_KINDS + 1
