"""How far a pipeline is: a line now and then, whatever the number of batches and documents."""

from __future__ import annotations

import logging

import pytest

from cht_sync.pipeline import progress as progress_module
from cht_sync.pipeline.contracts import Position
from cht_sync.pipeline.monitor import plugin_metrics
from cht_sync.pipeline.monitor.metrics import InputMetrics
from cht_sync.pipeline.progress import SAY_EVERY, Progress


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Clock:
    made = Clock()
    for module in (progress_module, plugin_metrics):
        monkeypatch.setattr(module, "time", made)
    caplog.set_level(logging.INFO)
    return made


@pytest.fixture
def source(clock: Clock) -> InputMetrics:
    made = InputMetrics("input", "couchdb_changes", "feed")
    made.source = "couchdb/medic"
    made.connecting()
    return made


def batch(source: InputMetrics, progress: Progress, documents: int, *, left: int) -> None:
    source.offered(documents, 1, behind=left, at_end=not left)
    source.acknowledged(documents)
    progress.stored(documents, Position("couchdb/medic", "17-abc", left))


def test_a_first_load_is_told_every_half_minute_and_at_its_end(
    source: InputMetrics, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress("medic", source)
    for number in range(600):
        clock.now += 0.1
        batch(source, progress, 1000, left=1000 * (599 - number))
    assert caplog.messages == [
        "medic: 300000 documents stored, 300000 pending, 10000 a second, at 17",
        "medic: caught up with 600000 documents in 60.0 s",
    ]


def test_what_comes_one_by_one_afterwards_is_not_told(
    source: InputMetrics, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress("medic", source)
    batch(source, progress, 1, left=0)
    caplog.clear()
    for _ in range(1000):
        clock.now += 1
        batch(source, progress, 1, left=0)
    assert caplog.messages == []


def test_a_later_backlog_is_told_when_it_lasts(
    source: InputMetrics, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress("medic", source)
    batch(source, progress, 1, left=0)
    clock.now += 3600
    batch(source, progress, 1, left=0)
    caplog.clear()
    batch(source, progress, 100, left=200)
    clock.now += SAY_EVERY
    batch(source, progress, 100, left=100)
    clock.now += 1
    batch(source, progress, 100, left=0)
    assert caplog.messages == [
        "medic: 200 documents stored, 100 pending, 7 a second, at 17",
        "medic: caught up with 300 documents in 31.0 s",
    ]


def test_an_input_that_knows_no_backlog_has_nothing_to_say(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    source = InputMetrics("input", "generator", "numbers")
    progress = Progress("main", source)
    for _ in range(100):
        clock.now += 1
        source.read(10)
        progress.stored(10, None)
    assert caplog.messages == []
