"""Counting: what is behind, what waits, and how fast it goes."""

from __future__ import annotations

import threading
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cht_sync.pipeline.monitor import metrics, plugin_metrics
from cht_sync.pipeline.monitor.flow import History
from cht_sync.pipeline.monitor.metrics import InputMetrics, OutputMetrics, PipelineMetrics, PluginMetrics


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic

    def perf_counter_ns(self) -> int:
        return int(self.now * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (metrics, plugin_metrics):
        monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def source(clock: Clock) -> InputMetrics:
    made = InputMetrics("input", "couchdb_changes", "feed")
    made.started()
    return made


@pytest.mark.parametrize("end", ["delivered", "stopped"])
def test_an_input_that_knows_no_backlog_is_behind_by_the_batch_in_hand(
    source: InputMetrics, clock: Clock, end: str
) -> None:
    source.read(10)
    clock.now += 60
    assert source.backlog() == metrics.Backlog(10, 60)
    getattr(source, end)()
    assert source.backlog() == metrics.Backlog(0, 0)
    source.read(0)
    clock.now += 60
    assert source.backlog() == metrics.Backlog(0, 0)


def test_a_source_that_has_not_answered_yet_is_behind_since_the_start(
    source: InputMetrics, clock: Clock
) -> None:
    source.connecting()
    clock.now += 7
    assert source.backlog().seconds == 7
    source.connected()
    assert source.backlog().seconds == 7
    source.offered(0, 0, behind=0, at_end=True)
    assert source.backlog().seconds == 0


def test_what_was_read_is_pending_until_it_is_acknowledged_and_the_time_runs_from_the_first(
    source: InputMetrics, clock: Clock
) -> None:
    source.offered(3, 30, behind=0, at_end=True)
    clock.now += 2
    source.offered(2, 20, behind=0, at_end=True)
    clock.now += 1
    assert source.backlog() == metrics.Backlog(5, 3.0)
    source.acknowledged(3)
    assert source.backlog() == metrics.Backlog(2, 3.0)
    source.acknowledged(2)
    assert source.backlog() == metrics.Backlog(0, 0.0)
    assert source.bytes == 50


def test_what_waits_at_the_source_counts_and_falls_as_it_is_read(source: InputMetrics, clock: Clock) -> None:
    source.offered(1000, 0, behind=5000, at_end=False)
    source.acknowledged(1000)
    clock.now += 4
    assert source.backlog() == metrics.Backlog(5000, 4.0)
    source.offered(400, 0, behind=None, at_end=False)
    assert source.backlog().pending == 5000
    source.acknowledged(400)
    assert source.backlog().pending == 4600


def test_a_lost_source_is_behind_until_its_end_is_reached_again(source: InputMetrics, clock: Clock) -> None:
    source.offered(0, 0, behind=0, at_end=True)
    source.lost("does not answer")
    clock.now += 30
    assert source.backlog().seconds == 30
    assert (source.reading, source.reconnects) == (False, 1)
    source.connected()
    assert source.problem.current is None
    source.offered(4, 0, behind=0, at_end=True)
    source.acknowledged(4)
    assert source.backlog() == metrics.Backlog(0, 0.0)


def test_what_was_not_acknowledged_before_a_new_start_is_not_pending_twice(source: InputMetrics) -> None:
    source.offered(5, 0, behind=0, at_end=True)
    source.started()
    source.offered(5, 0, behind=0, at_end=True)
    assert source.backlog().pending == 5


def test_a_problem_lasts_until_the_source_answers_however_often_it_is_started(
    source: InputMetrics, clock: Clock
) -> None:
    for _ in range(3):
        source.connecting()
        source.stopped("another server")
        clock.now += 10
        source.started()
        source.read(0)
    assert source.problem.current == metrics.Problem("another server", True, 1000.0)
    source.connected()
    assert source.problem.current is None


def test_the_problem_of_an_input_that_does_not_say_when_it_connects_is_over_when_events_come(
    source: InputMetrics,
) -> None:
    source.stopped("away")
    source.started()
    source.read(0)
    assert source.problem.current is not None
    source.read(1)
    assert source.problem.current is None


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=30))
def test_pending_is_what_was_offered_less_what_was_acknowledged(steps: list[tuple[int, bool]]) -> None:
    source = InputMetrics("input", "couchdb_changes", "feed")
    waiting: list[int] = []
    for changes, acknowledges in steps:
        if acknowledges and waiting:
            source.acknowledged(waiting.pop(0))
        else:
            source.offered(changes, 0, behind=0, at_end=True)
            waiting.append(changes)
        backlog = source.backlog()
        assert backlog.pending == sum(waiting)
        assert (backlog.seconds > 0) <= (sum(waiting) > 0)


def test_a_problem_keeps_the_time_of_its_beginning_and_loses_credentials(clock: Clock) -> None:
    output = OutputMetrics("output", "http", "out")
    output.failed("http://user:pass@host:3000/x does not answer", serious=False)
    clock.now += 5
    output.failed("still not: https://user:p%40ss@host", serious=True)
    problem = output.problem.current
    assert problem == metrics.Problem("still not: https://host", True, 1000.0)
    output.sent(10, events=1, duration=0)
    assert output.problem.current is None
    assert (output.retries, output.requests, output.bytes) == (2, 1, 10)


def test_a_batch_on_its_way_counts_with_its_time_and_the_sum_never_falls(clock: Clock) -> None:
    pipeline = PipelineMetrics("medic")
    pipeline.begin(7)
    clock.now += 2
    assert pipeline.totals().in_flight == 7
    assert pipeline.totals().duration == 2e9
    pipeline.worked(7, 6)
    clock.now += 1
    assert pipeline.totals().duration == 3e9
    pipeline.ended(acknowledged=True)
    totals = pipeline.totals()
    assert (totals.duration, totals.filtered, totals.out) == (3e9, 7, 6)
    assert (totals.in_flight, totals.batches) == (0, 1)
    pipeline.ended(acknowledged=False)
    assert pipeline.totals() == totals


def test_a_pipeline_has_finished_when_all_its_inputs_have(clock: Clock) -> None:
    pipeline = PipelineMetrics("medic", state="running")
    for _ in range(2):
        pipeline.add("input", "generator", object())
    pipeline.input_ended()
    assert pipeline.state == "running"
    pipeline.input_ended()
    assert pipeline.state == "finished"


def test_many_threads_lose_no_count() -> None:
    plugin = PluginMetrics("filter", "json", "one")

    def work() -> None:
        for _ in range(2000):
            plugin.worked(2, 1, 3)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (plugin.events_in, plugin.events_out, plugin.duration) == (16_000, 8_000, 24_000)


def history(*captures: tuple[float, dict[str, float]]) -> History:
    (at, first), *others = captures
    made = History(list(first), at, first)
    for at, values in others:
        made.capture(at, values)
    return made


def test_a_rate_is_growth_by_time_in_four_digits() -> None:
    made = history((0, {"in": 0}), (3, {"in": 1000}))
    assert made.rates("in") == {"current": 333.3, "lifetime": 333.3}


def test_windows_appear_as_time_goes_on() -> None:
    made = History(["in"], 0, {"in": 0})
    seen: dict[str, int] = {}
    for at in range(5, 90_000, 5):
        made.capture(at, {"in": at * 2})
        if at % 60 == 0 or at < 100:
            for name in made.rates("in"):
                seen.setdefault(name, at)
    assert seen == {
        "current": 5,
        "lifetime": 5,
        "last_1_minute": 60,
        "last_5_minutes": 300,
        "last_15_minutes": 900,
        "last_1_hour": 3600,
        "last_24_hours": 86_400,
    }
    assert set(made.rates("in").values()) == {2.0}


def test_a_window_forgets_what_was_before_it() -> None:
    made = History(["in"], 0, {"in": 0})
    ticks = count(5, 5)
    for at in ticks:
        made.capture(at, {"in": min(at, 100) * 10})
        if at >= 200:
            break
    assert made.rates("in") == {"current": 0.0, "last_1_minute": 0.0, "lifetime": 5.0}


def test_the_captures_of_a_day_are_few() -> None:
    made = History(["in"], 0, {"in": 0})
    for at in range(5, 100_000, 5):
        made.capture(at, {"in": at})
    kept: Any = made._windows
    assert sum(len(captures) for captures in kept.values()) < 400


def test_growth_by_nothing_is_infinite_and_nothing_by_nothing_is_left_out() -> None:
    made = history((0, {"ms": 0, "in": 0}), (1, {"ms": 5, "in": 0}))
    assert made.rates("ms", "in") == {"current": "Infinity", "lifetime": "Infinity"}
    assert made.rates("in", "ms") == {"current": 0.0, "lifetime": 0.0}
    assert history((0, {"ms": 0, "in": 0}), (1, {"ms": 0, "in": 0})).rates("ms", "in") == {}
