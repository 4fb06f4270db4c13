"""Pipelines that send to pipelines: nothing is acknowledged before the last one has delivered it."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_runs import PATIENCE, Running, json_lines
from waiting import eventually

from cht_sync.errors import ConfigError
from cht_sync.pipeline.addresses import MISSING_AFTER, Addresses, problems_of
from cht_sync.pipeline.contracts import Batch
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.inputs.pipeline import Options as InputOptions
from cht_sync.pipeline.inputs.pipeline import PipelineInput
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.outputs.pipeline import Options as OutputOptions
from cht_sync.pipeline.outputs.pipeline import PipelineOutput
from cht_sync.pipeline.sources import PipelineSource, load_all


class Sending:
    """A write of an output in a thread of its own."""

    def __init__(self, output: PipelineOutput, *events: Event) -> None:
        self.stop = threading.Event()
        self.result: bool | None = None

        def write() -> None:
            self.result = output.write(Batch(list(events)), self.stop)

        self._thread = threading.Thread(target=write, daemon=True)
        self._thread.start()

    def finished(self) -> bool | None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.result


@pytest.fixture
def addresses() -> Addresses:
    return Addresses()


@pytest.fixture
def listen(addresses: Addresses) -> Iterator[Callable[[str], PipelineInput]]:
    made: list[PipelineInput] = []

    def start(address: str) -> PipelineInput:
        made.append(PipelineInput(InputOptions(address=address), addresses))
        made[-1].start(None, threading.Event())
        return made[-1]

    yield start
    for source in made:
        source.close()


Listen = Callable[[str], PipelineInput]


def output(addresses: Addresses, *to: str) -> PipelineOutput:
    return PipelineOutput(OutputOptions(send_to=to), addresses, OutputMetrics("output", "pipeline", "p"))


def take(source: PipelineInput) -> Batch:
    batch = source.read(threading.Event(), PATIENCE)
    assert batch is not None
    return batch


def test_a_batch_is_delivered_only_when_the_other_pipeline_has_acknowledged_it(
    addresses: Addresses, listen: Listen
) -> None:
    source = listen("a")
    sending = Sending(output(addresses, "a"), Event({"n": 1}))
    batch = take(source)
    assert [event.get("n") for event in batch.events] == [1]
    assert sending.result is None
    batch.ack()
    assert sending.finished() is True


def test_every_address_gets_every_event(addresses: Addresses, listen: Listen) -> None:
    first, second = listen("a"), listen("b")
    sending = Sending(output(addresses, "a", "b"), Event({"n": 1}))
    take(first).ack()
    batch = take(second)
    assert sending.result is None
    batch.ack()
    assert sending.finished() is True


def test_what_the_other_pipeline_does_to_an_event_stays_there(addresses: Addresses, listen: Listen) -> None:
    source = listen("a")
    event = Event({"a": {"b": [1]}}, {"m": {}})
    sending = Sending(output(addresses, "a"), event)
    batch = take(source)
    batch.events[0].set("[a][b][0]", 2)
    batch.events[0].metadata["m"]["x"] = 1
    batch.ack()
    assert sending.finished() is True
    assert (event.get("a"), event.metadata) == ({"b": [1]}, {"m": {}})


def test_what_a_pipeline_took_and_did_not_deliver_goes_to_the_next_that_listens(
    addresses: Addresses, listen: Listen
) -> None:
    first = listen("a")
    sending = Sending(output(addresses, "a"), Event({"n": 1}))
    batch = take(first)
    first.close()
    batch.ack()  # too late: it is no longer the one that listens
    again = take(listen("a"))
    assert [event.get("n") for event in again.events] == [1]
    assert sending.result is None
    again.ack()
    assert sending.finished() is True


def test_where_nobody_listens_for_long_it_waits_and_says_so(
    addresses: Addresses, listen: Listen, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MISSING_AFTER == 10.0
    monkeypatch.setattr("cht_sync.pipeline.addresses.MISSING_AFTER", 0.05)
    listen("medicc")
    with caplog.at_level(logging.ERROR):
        sending = Sending(output(addresses, "medic"), Event())
        eventually(lambda: 'no pipeline listens at the address "medic"' in caplog.text)
    assert 'did you mean "medicc"' in caplog.text
    assert sending.result is None
    take(listen("medic")).ack()
    assert sending.finished() is True


def test_a_listener_that_comes_a_little_later_is_no_error(
    addresses: Addresses, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    sending = Sending(output(addresses, "medic"), Event({"n": 1}))
    eventually(lambda: addresses._waiting.get("medic"))
    first = listen("medic")
    take(first)
    first.close()  # as in a reload: the next one takes what this one did not deliver
    take(listen("medic")).ack()
    assert sending.finished() is True
    assert caplog.records == []


def test_a_stop_ends_the_waiting_without_delivery(addresses: Addresses, listen: Listen) -> None:
    sending = Sending(output(addresses, "a"), Event())
    sending.stop.set()
    assert sending.finished() is False
    nothing = listen("a").read(threading.Event(), 0)
    assert nothing is not None
    assert nothing.events == []


def test_a_stop_waits_for_what_the_other_pipeline_is_delivering(addresses: Addresses, listen: Listen) -> None:
    source = listen("a")
    sending = Sending(output(addresses, "a"), Event())
    batch = take(source)
    sending.stop.set()
    batch.ack()
    assert sending.finished() is True


def test_a_stop_does_not_wait_for_ever_for_a_pipeline_that_is_stuck(
    addresses: Addresses, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cht_sync.pipeline.addresses.GRACE", 0.01)
    source = listen("a")
    sending = Sending(output(addresses, "a"), Event({"n": 1}))
    batch = take(source)
    sending.stop.set()
    assert sending.finished() is False
    batch.ack()  # nobody waits for it any more
    source.close()
    nothing = listen("a").read(threading.Event(), 0)
    assert nothing is not None
    assert nothing.events == []


def test_a_stop_of_both_waits_for_as_long_as_the_other_one_delivers(
    addresses: Addresses, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cht_sync.pipeline.addresses.GRACE", 0.0)
    source = listen("a")
    sending = Sending(output(addresses, "a"), Event())
    batch = take(source)
    source.interrupt()
    sending.stop.set()
    for _ in range(3):
        addresses.listen("a", source)  # makes the sender look again
    assert sending.result is None
    batch.ack()
    assert sending.finished() is True


def test_a_stop_of_both_ends_when_the_other_one_leaves_what_it_has(
    addresses: Addresses, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    source = listen("a")
    sending = Sending(output(addresses, "a"), Event())
    take(source)
    source.interrupt()
    sending.stop.set()
    source.close()
    assert sending.finished() is False
    assert "is not acknowledged" in caplog.text


def test_an_address_belongs_to_one_pipeline(listen: Listen) -> None:
    listen("a")
    with pytest.raises(ConfigError, match='another pipeline listens at the address "a"'):
        listen("a")


def test_an_empty_batch_is_delivered_at_once(addresses: Addresses) -> None:
    assert Sending(output(addresses, "a")).finished() is True


@pytest.mark.parametrize(
    ("listening", "sending", "reason"),
    [
        ({"p": ["a"], "q": ["a"]}, {}, 'pipelines p and q listen at the same address "a"'),
        ({"p": ["a", "a"]}, {}, "pipelines p and p"),
        ({"p": ["a"]}, {"p": ["a"]}, "pipeline p sends to itself"),
        ({"p": ["a"], "q": ["b"]}, {"p": ["b"], "q": ["a"]}, "pipeline p sends to itself"),
    ],
)
def test_what_could_never_work_is_a_problem(
    listening: dict[str, list[str]], sending: dict[str, list[str]], reason: str
) -> None:
    assert reason in str(problems_of(listening, sending)[0])


def test_a_diamond_is_no_problem() -> None:
    assert problems_of({"b": ["b"], "c": ["c"], "d": ["d"]}, {"a": ["b", "c"], "b": ["d"], "c": ["d"]}) == []


def test_such_problems_are_found_when_pipelines_are_loaded(tmp_path: Path) -> None:
    configs = [
        PipelineSource("p", 'input { pipeline { address => "a" } } output { pipeline { send_to => "b" } }'),
        PipelineSource(
            "q", 'input { pipeline { address => "b" } pipeline { address => "a" } } output { null {} }'
        ),
    ]
    with pytest.raises(ConfigError, match='pipelines p and q listen at the same address "a"'):
        load_all(configs, {}, tmp_path)


def test_dropping_events_on_purpose_is_refused(tmp_path: Path) -> None:
    config = PipelineSource("p", 'output { pipeline { send_to => "a" ensure_delivery => false } }')
    with pytest.raises(ConfigError, match="would drop events"):
        load_all([config], {}, tmp_path)


def test_events_go_through_a_chain_of_pipelines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in").write_text("".join(f"{n}\n" for n in range(3000)))
    out = tmp_path / "out.jsonl"
    running = Running(
        tmp_path,
        first=f"""input {{ file {{ path => "{tmp_path}/in" mode => read exit_after_read => true
            file_completed_action => delete }} }}
        output {{ pipeline {{ send_to => ["chain-1"] }} }}""",
        second="""input { pipeline { address => "chain-1" add_field => { second => yes } } }
        output { pipeline { send_to => "chain-2" } }""",
        third=f"""input {{ pipeline {{ address => "chain-2" }} }} output {{ file {{ path => "{out}" }} }}""",
    )
    eventually(lambda: not (tmp_path / "in").exists())
    running.stop()
    events = json_lines(out)
    assert [event["message"] for event in events] == [str(n) for n in range(3000)]
    assert {event["second"] for event in events} == {"yes"}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_stop_in_the_middle_of_a_chain_acknowledges_nothing_that_is_not_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a\n")
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    configs = {
        "first": f"""input {{ file {{ path => "{tmp_path}/in" mode => read exit_after_read => true }} }}
        output {{ pipeline {{ send_to => "blocked" }} }}""",
        "second": f"""input {{ pipeline {{ address => "blocked" }} }}
        output {{ file {{ path => "{blocked}" codec => line {{ format => "%{{message}}" }} }} }}""",
    }
    running = Running(tmp_path, **configs)
    running.stop()
    assert (tmp_path / "in").exists()
    blocked.rmdir()
    running = Running(tmp_path, **configs)
    eventually(lambda: not (tmp_path / "in").exists())
    running.stop()
    assert blocked.read_text() == "a\n"


def test_kill_at_any_moment_loses_no_event_between_two_pipelines(tmp_path: Path) -> None:
    wanted = [str(n) for n in range(30_000)]
    (tmp_path / "in").write_text("".join(f"{n}\n" for n in wanted))
    out = tmp_path / "out.jsonl"
    (tmp_path / "first.conf").write_text(
        f"""input {{ file {{ path => "{tmp_path}/in" mode => read exit_after_read => true }} }}
        output {{ pipeline {{ send_to => "second" }} }}"""
    )
    (tmp_path / "second.conf").write_text(
        f"""input {{ pipeline {{ address => "second" }} }} output {{ file {{ path => "{out}" }} }}"""
    )
    (tmp_path / "pipelines.yml").write_text(
        "[{pipeline.id: first, path.config: first.conf}, {pipeline.id: second, path.config: second.conf}]"
    )
    command = [sys.executable, "-m", "cht_sync", "pipeline", "run", "--path.settings", tmp_path]

    def delivered() -> int:
        return out.read_bytes().count(b"\n") if out.exists() else 0

    kills = 0
    for least in (1_000, 9_000):
        process = subprocess.Popen([*command, "--path.data", tmp_path / "data"], cwd=tmp_path)
        eventually(lambda least=least: delivered() > least)  # type: ignore[misc]
        kills += (tmp_path / "in").exists()
        process.kill()
        process.wait(PATIENCE)
    assert kills > 0
    process = subprocess.Popen([*command, "--path.data", tmp_path / "data"], cwd=tmp_path)
    eventually(lambda: not (tmp_path / "in").exists())
    process.terminate()
    assert process.wait(PATIENCE) == 0
    got = [event["message"] for event in json_lines(out)]
    assert set(got) == set(wanted)
    assert len(got) <= len(wanted) + 1_000 * kills
