"""Read, filter, deliver, acknowledge: what a crash, a stop and another writer may not break."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from scripted_pipelines import (
    ABORT,
    END,
    IDLE,
    PATIENCE,
    WAIT,
    Collected,
    Crash,
    Keeping,
    ScriptedInput,
    named_pipeline,
)

from cht_sync.errors import ConfigError, OperatorNeeded, Superseded
from cht_sync.pipeline import input_runner
from cht_sync.pipeline.contracts import Batch, Position, Rejected
from cht_sync.pipeline.couchdb.handoff import Gathered
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.inputs.couchdb_changes import CouchdbChanges, Options
from cht_sync.pipeline.named_pipeline import NamedPipeline
from cht_sync.pipeline.plugins import PluginContext
from cht_sync.pipeline.run import run_pipelines


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_runner, "STANDBY", 0.01)
    monkeypatch.setattr(input_runner, "LOOK_EVERY", 0.01)


@pytest.fixture
def named(tmp_path: Path) -> Callable[..., NamedPipeline]:
    return partial(named_pipeline, tmp_path)


Make = Callable[..., NamedPipeline]


def test_everything_is_delivered_in_order_and_acknowledged(named: Make) -> None:
    source, sink = ScriptedInput([1, 2, 3, END]), Collected()
    run_pipelines([named([source], [sink])], threading.Event())
    assert sink.got == [1, 2, 3]
    assert source.saved == 3
    assert source.closed > 0
    assert sink.closed > 0


def test_what_was_acknowledged_before_a_crash_is_not_read_again(named: Make) -> None:
    source, sink = ScriptedInput([1, 2, ABORT]), Collected()
    with pytest.raises(Crash):
        run_pipelines([named([source], [sink])], threading.Event())
    source.script = [1, 2, 3, END]
    run_pipelines([named([source], [sink])], threading.Event())
    assert sink.got == [1, 2, 3]


def test_a_batch_whose_delivery_crashed_is_read_again(named: Make) -> None:
    source = ScriptedInput([1, 2, 3, END])

    def crash_at_two(batch: Batch) -> bool:
        if batch.events[0].get("n") == 2:
            raise Crash
        return True

    with pytest.raises(Crash):
        run_pipelines([named([source], [Collected(crash_at_two)])], threading.Event())
    assert source.saved == 1
    again = Collected()
    run_pipelines([named([source], [again])], threading.Event())
    assert again.got == [2, 3]


def test_a_batch_is_acknowledged_only_when_every_output_has_it(named: Make) -> None:
    source, first = ScriptedInput([1, END]), Collected()
    run_pipelines([named([source], [first, Collected(lambda _: False)])], threading.Event())
    assert first.got == [1]
    assert source.saved == 0


def test_nothing_is_acknowledged_before_it_is_delivered(named: Make) -> None:
    source = ScriptedInput([1, 2, END])
    saved: list[int] = []

    def look(batch: Batch) -> bool:
        saved.append(source.saved)
        return True

    run_pipelines([named([source], [Collected(look)])], threading.Event())
    assert saved == [0, 1]


def test_a_stop_ends_all_pipelines_in_order(named: Make) -> None:
    stop = threading.Event()

    def stop_now(_batch: Batch) -> bool:
        stop.set()
        return True

    sources = [ScriptedInput([1, WAIT]), ScriptedInput([WAIT])]
    sinks = [Collected(stop_now), Collected()]
    run_pipelines(
        [named([s], [o], f"p{n}") for n, (s, o) in enumerate(zip(sources, sinks, strict=True))], stop
    )
    assert all(source.closed for source in sources)
    assert all(sink.closed for sink in sinks)


def test_the_position_kept_with_the_data_is_where_reading_begins(named: Make) -> None:
    source, keeper = ScriptedInput([1, 2, 3, END], source="couch/medic"), Keeping()
    keeper.position = Position("couch/medic", "2")
    run_pipelines([named([source], [keeper])], threading.Event())
    assert keeper.claims == ["couch/medic"]
    assert keeper.got == [3]
    assert keeper.position == Position("couch/medic", "3")


def test_only_the_keeper_is_given_the_position_and_what_was_rejected(named: Make) -> None:
    letter = Rejected("a", "1-a", None, "x", "y")
    source, keeper, other = ScriptedInput([letter, END], source="couch/medic"), Keeping(), Collected()
    pipeline = named([source], [other, keeper])
    run_pipelines([pipeline], threading.Event())
    assert [(batch.rejected, batch.position) for batch in other.batches] == [([], None)]
    assert [batch.rejected for batch in keeper.batches] == [[letter]]


def test_without_a_keeper_what_was_rejected_goes_to_the_file_before_the_ack_and_is_logged(
    named: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = ScriptedInput([Rejected("a", "1-a", None, "malformed", "y"), END])
    run_pipelines([named([source], [Collected()])], threading.Event())
    assert "medic: 1 changes are now dead letters: malformed" in caplog.text
    assert '"document_id":"a"' in (tmp_path / "dead_letter_queue" / "medic.jsonl").read_text()
    assert source.saved == 1


def test_a_pipeline_that_is_idle_gives_a_sign_of_life(named: Make) -> None:
    source, keeper = ScriptedInput([IDLE, END], source="couch/medic"), Keeping()
    run_pipelines([named([source], [keeper])], threading.Event())
    assert [batch.events for batch in keeper.batches] == [[]]


def test_a_pipeline_that_was_taken_over_stands_by_and_then_goes_on_from_the_new_position(named: Make) -> None:
    source = ScriptedInput([1, 2, 3, END], source="couch/medic")
    keeper = Keeping(released=[False, False, True])

    def superseded_once(_batch: Batch) -> bool:
        if len(keeper.claims) == 1:
            keeper.position = Position("couch/medic", "2")  # what the other writer did meanwhile
            raise Superseded("another writer")
        return True

    keeper.before = superseded_once
    run_pipelines([named([source], [keeper])], threading.Event())
    assert keeper.released == []
    assert source.started == [None, Position("couch/medic", "2")]
    assert keeper.got == [3]


def test_a_stop_ends_a_stand_by(named: Make) -> None:
    stop = threading.Event()
    keeper = Keeping()

    def superseded(_batch: Batch) -> bool:
        raise Superseded("another writer")

    def never(_stop: threading.Event) -> bool:
        stop.set()
        return False

    keeper.before, keeper.is_released = superseded, never  # type: ignore[method-assign]
    run_pipelines([named([ScriptedInput([1, END], source="couch/medic")], [keeper])], stop)
    assert keeper.closed


NOT_THIS_ONE = OperatorNeeded("this is another server", hint="Accept it.")


def test_a_problem_is_kept_with_the_position_and_reading_is_tried_again_from_the_last_one(
    named: Make,
) -> None:
    source = ScriptedInput([1, 2, NOT_THIS_ONE], source="couch/medic")
    keeper = Keeping(position=Position("couch/medic", "0"))
    original = keeper.report

    def report(problem: str, stop: threading.Event) -> None:
        original(problem, stop)
        if len(keeper.reported) == 3:
            source.script = [1, 2, 3, END]

    keeper.report = report  # type: ignore[method-assign]
    run_pipelines([named([source], [keeper])], threading.Event())
    assert keeper.claims == ["couch/medic"]
    assert keeper.reported == ["this is another server. Accept it."] * 3
    assert [position and position.sequence for position in source.started] == ["0", "2", "2", "2"]
    assert keeper.got == [1, 2, 3]


@pytest.mark.parametrize("say_again", [3600.0, 0.0])
def test_a_problem_is_logged_at_once_and_then_after_every_five_minutes(
    named: Make,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    say_again: float,
) -> None:
    assert input_runner.SAY_AGAIN == 300.0
    monkeypatch.setattr(input_runner, "SAY_AGAIN", say_again)
    monkeypatch.setattr(input_runner, "STANDBY", 0.0)
    source, keeper, stop = ScriptedInput([NOT_THIS_ONE], source="couch/medic"), Keeping(), threading.Event()

    def report(problem: str, _stop: threading.Event) -> None:
        keeper.reported.append(problem)
        if len(keeper.reported) == 5:
            stop.set()

    keeper.report = report  # type: ignore[method-assign]
    run_pipelines([named([source], [keeper])], stop)
    said = 1 if say_again else len(keeper.reported)
    assert [record.message for record in caplog.records] == [
        "medic: this is another server. Accept it."
    ] * said


def test_a_problem_ends_when_the_operator_has_changed_the_position(named: Make) -> None:
    source, keeper = ScriptedInput([1, NOT_THIS_ONE], source="couch/medic"), Keeping(released=[True])

    def the_word_is_given(_problem: str, _stop: threading.Event) -> None:
        keeper.position = Position("couch/medic", "0", rereading=True)
        source.script = [1, 2, END]
        raise Superseded("the position was put back")

    keeper.report = the_word_is_given  # type: ignore[method-assign]
    run_pipelines([named([source], [keeper])], threading.Event())
    assert source.started[-1] == Position("couch/medic", "0", rereading=True)
    assert keeper.got == [1, 1, 2]


def test_a_problem_where_nobody_keeps_the_position_is_waited_for_too(named: Make) -> None:
    source, stop = ScriptedInput([NOT_THIS_ONE]), threading.Event()
    begun = source.start

    def start(position: Position | None, stopping: threading.Event) -> None:
        begun(position, stopping)
        if len(source.started) == 2:
            source.script = [1, END]

    source.start = start  # type: ignore[method-assign]
    sink = Collected()
    run_pipelines([named([source], [sink])], stop)
    assert sink.got == [1]


@pytest.mark.parametrize("keepers", [0, 2])
def test_an_input_whose_position_nobody_or_two_would_keep_is_refused(named: Make, keepers: int) -> None:
    source = ScriptedInput([END], source="couch/medic")
    outputs = [Keeping() for _ in range(keepers)] or [Collected()]
    with pytest.raises(ConfigError, match="position_headers"):
        run_pipelines([named([source], outputs)], threading.Event())
    assert source.started == []


def test_two_inputs_cannot_share_the_one_that_keeps_the_position(named: Make) -> None:
    inputs = [ScriptedInput([END], source=f"couch/{name}") for name in ("medic", "sentinel")]
    with pytest.raises(ConfigError, match="pipeline of its own"):
        run_pipelines([named(inputs, [Keeping()])], threading.Event())


# The real input within the rules above.


@pytest.fixture
def changes(tmp_path: Path) -> Iterator[CouchdbChanges]:
    options = Options(
        db="medic",
        host="127.0.0.1",
        port=9,  # nobody listens there
        sequence_path=str(tmp_path / "seq"),
        sequence_store="postgrest",
        add_field=None,
    )
    source = CouchdbChanges(options, PluginContext("medic", tmp_path))
    yield source
    source.close()


def test_an_idle_input_stops_at_once(changes: CouchdbChanges) -> None:
    stop = threading.Event()
    changes.start(Position("127.0.0.1/medic", "7-x"), stop)
    answers: list[Batch | None] = []
    thread = threading.Thread(target=lambda: answers.append(changes.read(stop, 3600.0)), daemon=True)
    thread.start()
    stop.set()
    changes.interrupt()
    thread.join(PATIENCE)
    assert answers == [None]


def test_an_input_that_was_closed_can_be_started_again(changes: CouchdbChanges) -> None:
    stop = threading.Event()
    changes.start(None, stop)
    changes.close()
    changes.start(None, stop)
    portion = Gathered()
    portion.add("a", Event({"n": 1}), 1)
    changes._handoff.put(portion)
    batch = changes.read(stop, PATIENCE)
    assert batch is not None
    assert len(batch.events) == 1


def test_the_file_follows_the_position_after_the_ack(changes: CouchdbChanges, tmp_path: Path) -> None:
    stop = threading.Event()
    changes.start(None, stop)
    changes._handoff.put(Gathered(position=Position("127.0.0.1/medic", "8-x", 0)))
    batch = changes.read(stop, PATIENCE)
    assert batch is not None
    assert not (tmp_path / "seq").exists()
    batch.ack()
    assert (tmp_path / "seq").read_text() == "8-x"
