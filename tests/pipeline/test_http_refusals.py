"""The http output to plain servers: single events are refused, all are refused, a server asks for time."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from engine_runs import Running
from http_server import Asked, HttpServer, http_server
from waiting import eventually
from warehouse.served import ObservedStop

from cht_sync import backoff
from cht_sync.pipeline import tally
from cht_sync.pipeline.contracts import Batch, Output
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.http.refusals import NOTHING_THERE
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.monitor.readiness import report
from cht_sync.pipeline.outputs.http import Options, build
from cht_sync.pipeline.plugins import Password, PluginContext

ABOUT_ALL = (301, 302, 307, 401, 403, 404, 405, 406, 407, 410, 415, 501)
Judge = Callable[[dict[str, Any]], int]


class Judging(HttpServer):
    """Accepts what `judge` says 2xx of; of an array the first event that it says something else of counts."""

    judge: Judge = staticmethod(lambda _event: 200)
    headers: Mapping[str, str] = MappingProxyType({})

    def keep(self, request: Asked) -> dict[str, Any]:
        super().keep(request)
        body = json.loads(request.body)
        events = body if isinstance(body, list) else [body]
        statuses = [self.judge(event) for event in events]
        return {"status": next((one for one in statuses if one >= 300), 200), "headers": self.headers}

    @property
    def accepted(self) -> list[int]:
        """The numbers of the events that were accepted, in this order."""
        bodies = [json.loads(request.body) for request in self.requests]
        arrays = [body if isinstance(body, list) else [body] for body in bodies]
        return [event["n"] for array in arrays for event in array if self.took(array)]

    def took(self, array: Sequence[dict[str, Any]]) -> bool:
        return all(self.judge(event) < 300 for event in array)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Judging]:
    monkeypatch.setattr("http_server.HttpServer", Judging)
    with http_server() as one:
        assert isinstance(one, Judging)
        yield one


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "delays", lambda **_: itertools.repeat(0.01))


class Line:
    """An output that writes events by their numbers, in a thread where it may have to wait."""

    def __init__(self, folder: Path, url: str, **options: Any) -> None:
        self.metrics = OutputMetrics("output", "http", "x")
        context = PluginContext("main", folder, plugin_metrics=self.metrics)
        self.output: Output = build(Options(**{"url": url, "http_method": "post", **options}), context)
        self.folder = folder
        self.stop = ObservedStop()
        self.results: list[bool] = []

    def write(self, numbers: range) -> bool:
        return self.output.write(Batch([Event({"n": n}) for n in numbers]), self.stop)

    def begin(self, numbers: range) -> threading.Thread:
        thread = threading.Thread(target=lambda: self.results.append(self.write(numbers)), daemon=True)
        thread.start()
        return thread

    def waits(self) -> bool:
        problem = self.metrics.problem.current
        return problem is not None and problem.serious

    @property
    def letters(self) -> list[int]:
        path = self.folder / "dead_letter_queue" / "main.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(json.loads(line)["document"])["n"] for line in lines]


@pytest.fixture
def line(tmp_path: Path, server: Judging) -> Iterator[Callable[..., Line]]:
    made: list[Line] = []

    def make(**options: Any) -> Line:
        made.append(Line(tmp_path, **{"url": server.url, **options}))
        return made[-1]

    yield make
    for one in made:
        one.stop.set()
        one.output.close()


# All events are refused.


@pytest.mark.parametrize("status", ABOUT_ALL)
def test_what_refuses_every_event_is_waited_for_and_goes_on_by_itself_when_mended(
    server: Judging, line: Callable[..., Line], status: int
) -> None:
    server.judge = lambda _event: status
    one = line()
    thread = one.begin(range(100))
    eventually(one.waits)
    asked = len(server.requests)
    eventually(lambda: len(server.requests) > asked + 5)
    problem = one.metrics.problem.current
    assert problem is not None
    assert f"HTTP {status}" in problem.text
    server.judge = lambda _event: 200
    thread.join(20)
    assert one.results == [True]
    assert one.letters == [0]
    assert server.accepted[-99:] == list(range(1, 100))
    assert one.metrics.problem.current is None


def test_a_batch_that_is_refused_as_a_whole_waits_with_one_event(
    server: Judging, line: Callable[..., Line]
) -> None:
    server.judge = lambda _event: 403
    one = line(format="json_batch")
    thread = one.begin(range(1000))
    eventually(one.waits)
    assert one.letters == [0]
    server.judge = lambda _event: 200
    server.requests.clear()
    thread.join(20)
    assert one.results == [True]
    assert server.accepted == list(range(1, 1000))
    assert one.letters == [0]


def test_a_login_that_ends_costs_no_more_than_five_events(server: Judging, line: Callable[..., Line]) -> None:
    one = line()
    assert one.write(range(3))
    server.judge = lambda _event: 401
    for number in range(3, 8):
        assert one.write(range(number, number + 1))
    thread = one.begin(range(8, 100))
    eventually(one.waits)
    assert one.letters == list(range(3, 8))
    server.judge = lambda _event: 200
    thread.join(20)
    assert one.letters == list(range(3, 8))
    assert server.accepted[-92:] == list(range(8, 100))


def test_a_stop_ends_the_waiting_and_nothing_counts_as_delivered(
    server: Judging, line: Callable[..., Line]
) -> None:
    server.judge = lambda _event: 404
    one = line()
    thread = one.begin(range(5))
    eventually(one.waits)
    one.stop.set()
    thread.join(20)
    assert one.results == [False]
    assert one.letters == [0]


def test_without_retries_nothing_waits(server: Judging, line: Callable[..., Line]) -> None:
    server.judge = lambda _event: 401
    one = line(retry_failed=False)
    assert one.write(range(20))
    assert one.letters == list(range(20))


def test_the_health_report_is_red_until_it_is_mended(server: Judging, tmp_path: Path) -> None:
    server.judge = lambda _event: 403
    config = f"""
    input {{ generator {{ count => 30 }} }}
    filter {{ mutate {{ add_field => {{ "n" => 1 }} }} }}
    output {{ http {{ url => "{server.url}" http_method => "post" }} }}"""
    running = Running(tmp_path, main=config)
    metrics = running.pipelines[0].pipeline.metrics
    try:
        eventually(lambda: report([metrics])["status"] == "red")
        (diagnosis,) = report([metrics])["indicators"]["pipelines"]["indicators"]["main"]["diagnosis"]
        assert "HTTP 403" in diagnosis["cause"]
        assert metrics.outputs[0].dead_letters == 1
        server.judge = lambda _event: 200
        running.wait()
        assert metrics.problems() == []
        assert metrics.outputs[0].requests == 29
    finally:
        running.stop()


# Single events are refused.


@pytest.mark.parametrize(
    ("format", "status"), [*(("json", one) for one in (400, 403, 404, 409, 422)), ("json_batch", 403)]
)
def test_an_event_that_alone_is_refused_is_a_dead_letter_and_the_rest_arrives(
    server: Judging, line: Callable[..., Line], format: str, status: int
) -> None:
    server.judge = lambda event: status if event["n"] in (0, 41, 97) else 200
    one = line(format=format)
    assert one.write(range(100))
    assert one.letters == [0, 41, 97]
    assert server.accepted == [n for n in range(100) if n not in (0, 41, 97)]


def test_events_whose_own_fault_it_is_are_dead_letters_however_many(
    server: Judging, line: Callable[..., Line]
) -> None:
    server.judge = lambda _event: 400
    one = line()
    assert one.write(range(30))
    assert one.letters == list(range(30))


def test_documents_that_are_not_there_may_be_many_where_the_url_names_them(
    server: Judging, line: Callable[..., Line]
) -> None:
    server.judge = lambda event: 404 if event["n"] else 200
    one = line(url=f"{server.url}/%{{n}}")
    assert one.write(range(NOTHING_THERE + 1))
    assert one.letters == list(range(1, NOTHING_THERE + 1))
    one.begin(range(100, 102))
    eventually(one.waits)
    assert 100 not in one.letters


@pytest.mark.parametrize("status", [400, 409, 422, 413, 404, 500])
@pytest.mark.parametrize("bad", [{0}, {127}, {7, 8, 90}, set(range(128))])
def test_bad_events_of_an_array_are_dead_letters_and_the_rest_arrives_in_order(
    server: Judging, line: Callable[..., Line], status: int, bad: set[int]
) -> None:
    server.judge = lambda event: status if event["n"] in bad else 200
    # An output that every event is refused by would wait where the status is about its configuration.
    one = line(format="json_batch", retryable_codes=(503,), retry_failed=status != 404)
    assert one.write(range(128))
    assert one.letters == sorted(bad)
    assert server.accepted == [n for n in range(128) if n not in bad]
    assert len(server.requests) <= 1 + 2 * 7 * len(bad)


def test_an_array_that_a_server_cannot_take_now_is_not_split_without_retries_either(
    server: Judging, line: Callable[..., Line]
) -> None:
    server.judge = lambda _event: 503
    one = line(format="json_batch", retry_failed=False)
    assert one.write(range(10))
    assert one.letters == list(range(10))
    assert len(server.requests) == 1


# A stop in the middle of a batch.


def test_a_healthy_server_gets_the_whole_batch_once_after_a_stop(
    server: Judging, line: Callable[..., Line]
) -> None:
    one = line()

    def judge(event: dict[str, Any]) -> int:
        if event["n"] == 3:
            one.stop.set()
        return 400 if event["n"] == 5 else 200

    server.judge = judge
    assert one.write(range(300))
    assert server.accepted == [n for n in range(300) if n != 5]
    assert one.letters == [5]


def test_halves_of_an_array_go_on_after_a_stop(server: Judging, line: Callable[..., Line]) -> None:
    one = line(format="json_batch")
    one.stop.set()
    server.judge = lambda event: 422 if event["n"] == 2 else 200
    assert one.write(range(8))
    assert (server.accepted, one.letters) == ([0, 1, 3, 4, 5, 6, 7], [2])


def test_a_server_that_fails_after_a_stop_is_asked_once_and_nothing_counts_as_delivered(
    server: Judging, line: Callable[..., Line], caplog: pytest.LogCaptureFixture
) -> None:
    one = line()

    def judge(event: dict[str, Any]) -> int:
        one.stop.set()
        return 503 if event["n"] == 2 else 200

    server.judge = judge
    assert not one.write(range(300))
    assert [json.loads(request.body)["n"] for request in server.requests] == [0, 1, 2]
    assert "the batch in hand is not acknowledged" in caplog.text


# What the log says.


def test_many_refusals_are_a_few_lines_with_a_count(
    server: Judging, line: Callable[..., Line], caplog: pytest.LogCaptureFixture
) -> None:
    server.judge = lambda event: 400 + event["n"] % 2 * 22
    one = line()
    assert one.write(range(101))
    one.output.close()
    said = [record.getMessage() for record in caplog.records]
    assert all(text.startswith(f"pipeline main: x: {server.url}: ") for text in said)
    said = [text.partition(f"{server.url}: ")[2] for text in said]
    assert said == [
        "refused for good (HTTP 400); dead letters: 1",
        "refused for good (HTTP 400, HTTP 422); dead letters: 100",
    ]


def test_what_is_waited_for_is_said_once_a_minute(
    server: Judging,
    line: Callable[..., Line],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.judge = lambda _event: 401
    one = line(jwt_secret=Password("a-secret-of-tests-that-is-long-enough-0123456789"), jwt_role="w")

    def said() -> list[str]:
        return [
            record.getMessage() for record in caplog.records if "one event after another" in record.message
        ]

    with caplog.at_level(logging.ERROR):
        one.begin(range(10))
        eventually(lambda: len(server.requests) > 40)
        assert len(said()) == 1
        assert "ignorable_codes" in said()[0]
        monkeypatch.setattr(tally, "SAY_AGAIN", 0.0)
        eventually(lambda: len(said()) > 1)
    assert int(said()[1].split("refused ")[1].split()[0]) > 10


# A server that asks for time.


class Timed(threading.Event):
    """A stop that notes how long it was to wait, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return self.is_set()


@pytest.mark.parametrize(
    ("status", "asked", "waited"),
    [(429, "7", 7), (503, "7", 7), (503, "0", 0.01), (503, "99999", 300), (500, "7", 0.01)],
)
def test_a_server_that_asks_for_time_gets_it_within_bounds(
    server: Judging, line: Callable[..., Line], status: int, asked: str, waited: float
) -> None:
    statuses = iter([status, 200])
    server.judge = lambda _event: next(statuses)
    server.headers = {"Retry-After": asked}
    stop = Timed()
    assert line().output.write(Batch([Event({"n": 1})]), stop)
    assert stop.waits == [waited]
