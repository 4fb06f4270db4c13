"""A pipeline that fails: the others go on; it is shown and tried again, or is the error of the end."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import pytest
from scripted_pipelines import END, WAIT, Collected, ScriptedInput, named_pipeline
from waiting import eventually

from cht_sync.errors import DeadLettersFull, SourceError
from cht_sync.pipeline import running
from cht_sync.pipeline.contracts import Batch, Position, Rejected
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.named_pipeline import NamedPipeline
from cht_sync.pipeline.run import run_pipelines
from cht_sync.pipeline.running import described

FULL_DISK = OSError(28, "No space left on device", "/data/seq")
LETTER = Rejected("a", "1-a", None, "malformed", "y")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (running.FIRST_PAUSE, running.LONGEST_PAUSE) == (1.0, 300.0)
    monkeypatch.setattr(running, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(running, "LONGEST_PAUSE", 0.02)


class Waking(ScriptedInput):
    """Remembers until it is closed that it was interrupted, as inputs do that wait for an event."""

    interrupted = False

    def interrupt(self) -> None:
        self.interrupted = True

    def close(self) -> None:
        super().close()
        self.interrupted = False

    def start(self, position: Position | None, stop: threading.Event) -> None:
        assert not self.interrupted
        super().start(position, stop)


class Failing:
    """Fails so many times, each time with the same error."""

    def __init__(self, failure: Exception, times: int) -> None:
        self.failure = failure
        self.times = times

    def __call__(self, _batch: Batch) -> bool:
        if self.times:
            self.times -= 1
            raise self.failure
        return True


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "failure", [SourceError("the server is gone", hint="Bring it back."), RuntimeError()]
)
def test_the_others_go_on_and_the_failure_is_said_and_is_the_end_s(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "FIRST_PAUSE", 3600.0)
    failing = named_pipeline(tmp_path, [ScriptedInput([failure])], [Collected()], "a")

    def after_the_failure(_batch: Batch) -> bool:
        eventually(lambda: bool(errors(caplog)))
        return True

    sink = Collected(after_the_failure)
    other = named_pipeline(tmp_path, [ScriptedInput([1, 2, 3, END])], [sink], "b")
    with pytest.raises(type(failure)) as raised:
        run_pipelines([failing, other], threading.Event())
    assert raised.value is failure
    assert sink.got == [1, 2, 3]
    (said,) = errors(caplog)
    assert said.startswith(f"pipeline a failed: {described(failure).rstrip('.')}. It is tried again in ")
    metrics = failing.pipeline.metrics
    assert (metrics.state, metrics.failures) == ("terminated", 1)
    assert metrics.failure is not None
    assert [problem.text for problem in metrics.problems()] == [described(failure)]
    assert other.pipeline.metrics.state == "finished"


def test_alone_it_ends_at_once_where_waiting_would_not_help(tmp_path: Path) -> None:
    failure = SourceError("the line is too long")
    with pytest.raises(SourceError) as raised:
        run_pipelines(
            [named_pipeline(tmp_path, [ScriptedInput([failure])], [Collected()])], threading.Event()
        )
    assert raised.value is failure


def test_where_waiting_may_help_it_is_tried_again_until_it_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, sink = ScriptedInput([1, 2, 3, END]), Collected(Failing(FULL_DISK, 3))
    pipeline = named_pipeline(tmp_path, [source], [sink])
    run_pipelines([pipeline], threading.Event())
    assert (sink.got, source.saved) == ([1, 2, 3], 3)
    assert len(errors(caplog)) == 3
    assert "pipeline medic failed: /data/seq: No space left on device. It is tried again" in errors(caplog)[0]
    metrics = pipeline.pipeline.metrics
    assert (metrics.state, metrics.failures, metrics.failure) == ("finished", 3, None)


def test_whatever_the_failure_it_is_tried_again_while_others_work(tmp_path: Path) -> None:
    source, sink = ScriptedInput([1, 2, END]), Collected(Failing(RuntimeError("a fault"), 2))

    def afterwards(_batch: Batch) -> bool:
        eventually(lambda: sink.got == [1, 2])
        return True

    other = named_pipeline(tmp_path, [ScriptedInput([1, END])], [Collected(afterwards)], "other")
    run_pipelines([named_pipeline(tmp_path, [source], [sink]), other], threading.Event())
    assert sink.got == [1, 2]


def test_full_dead_letters_are_waited_for_until_somebody_makes_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, sink = ScriptedInput([1, LETTER, 2, END]), Collected()
    made = named_pipeline(tmp_path, [source], [sink])
    pipeline = NamedPipeline("medic", made.pipeline, DeadLetterFile(tmp_path, "medic", None, 10))
    file = tmp_path / "dead_letter_queue" / "medic.jsonl"
    file.parent.mkdir()
    file.write_text("x" * 10)

    def make_room() -> None:
        eventually(lambda: len(errors(caplog)) > 1)
        file.write_text("")

    operator = threading.Thread(target=make_room)
    operator.start()
    run_pipelines([pipeline], threading.Event())
    operator.join()
    assert "takes no more" in errors(caplog)[0]
    assert (sink.got, source.saved) == ([1, 2], 3)
    assert [json.loads(line)["document_id"] for line in file.read_text().splitlines()] == ["a"]


def test_a_stop_while_it_waits_ends_it_with_the_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()

    def operator() -> None:
        eventually(lambda: bool(errors(caplog)))
        stop.set()

    threading.Thread(target=operator, daemon=True).start()
    sink = Collected(Failing(FULL_DISK, 1_000_000))
    with pytest.raises(OSError, match="No space left"):
        run_pipelines([named_pipeline(tmp_path, [ScriptedInput([1, END])], [sink])], stop)
    assert sink.closed


def test_what_came_from_a_stream_that_is_gone_is_not_begun_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = named_pipeline(
        tmp_path, [ScriptedInput([1, END])], [Collected(Failing(FULL_DISK, 1))], restartable=False
    )
    with pytest.raises(OSError, match="No space left"):
        run_pipelines([pipeline], threading.Event())
    assert pipeline.pipeline.metrics.failures == 1


def test_the_other_inputs_of_a_pipeline_that_fails_are_stopped_and_begin_again_with_it(
    tmp_path: Path,
) -> None:
    failing, other = Waking([DeadLettersFull("full")]), Waking([WAIT])
    begun = failing.start

    def start(position: object, stop: threading.Event) -> None:
        begun(None, stop)
        if len(failing.started) == 3:
            failing.script = [1, END]
            other.script = [END]

    failing.start = start  # type: ignore[method-assign]
    sink = Collected()
    run_pipelines([named_pipeline(tmp_path, [failing, other], [sink])], threading.Event())
    assert sink.got == [1]
    assert len(other.started) == 3


def test_what_a_fault_holds_of_a_document_is_not_said() -> None:
    try:
        {}["Ada Lovelace"]
    except KeyError as error:
        assert described(error).startswith(f"KeyError at {Path(__file__).name}:")
        assert "Ada" not in described(error)
