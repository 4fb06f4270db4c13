"""While a large batch is on its way the next one is made, and it comes in its turn."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from scripted_pipelines import PATIENCE, Keeping, named_pipeline
from waiting import eventually

from cht_sync.pipeline import input_runner
from cht_sync.pipeline.ahead import Ahead
from cht_sync.pipeline.contracts import Batch, Position
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.run import run_pipelines


class Batches:
    """An input with batches of these sizes; an error among them is raised."""

    def __init__(self, *sizes: int | Exception, reread: bool = False) -> None:
        self.source = "couch/medic"
        self._sizes = sizes
        self._reread = reread
        self.given = 0

    def start(self, position: Position | None, stop: threading.Event) -> None:
        self.given = int(position.sequence) if position else 0

    def read(self, stop: threading.Event, timeout: float) -> Batch | None:
        if stop.is_set() or self.given == len(self._sizes):
            return None
        size = self._sizes[self.given]
        self.given += 1
        if isinstance(size, Exception):
            raise size
        events = [Event({"n": self.given}) for _ in range(size)]
        return Batch(events, position=Position(self.source, str(self.given)), reread=self._reread)

    def interrupt(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing to let go of."""


class Held(Keeping):
    """An output that holds the first batch back until it is let go."""

    def __init__(self, arrived: threading.Event, let_go: threading.Event) -> None:
        def before(_batch: Batch) -> bool:
            arrived.set()
            return let_go.wait(PATIENCE)

        super().__init__(before)


@pytest.fixture(autouse=True)
def _large_batches_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_runner, "LARGE", 3)


def given_while_the_first_is_held(folder: Path, source: Batches) -> tuple[int, Held]:
    """How many batches were read before the first one was safe; and the output at the end."""
    arrived, let_go, stop = threading.Event(), threading.Event(), threading.Event()
    output = Held(arrived, let_go)
    pipelines = [named_pipeline(folder, [source], [output])]
    thread = threading.Thread(target=run_pipelines, args=(pipelines, stop))
    thread.start()
    try:
        assert arrived.wait(PATIENCE)
        eventually(lambda: not any("(ahead)" in one.name for one in threading.enumerate()))
        return source.given, output
    finally:
        let_go.set()
        thread.join(PATIENCE)


def test_one_batch_is_made_while_a_large_one_is_on_its_way_and_no_more(tmp_path: Path) -> None:
    given, output = given_while_the_first_is_held(tmp_path, Batches(3, 3, 3, 3))
    assert given == 2
    assert output.got == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3


def test_behind_a_small_batch_the_next_one_goes_on_gathering(tmp_path: Path) -> None:
    given, output = given_while_the_first_is_held(tmp_path, Batches(2, 3))
    assert given == 1
    assert output.got == [1] * 2 + [2] * 3


def test_what_a_replaced_database_lacks_is_looked_for_before_anything_more_is_read(tmp_path: Path) -> None:
    given, _output = given_while_the_first_is_held(tmp_path, Batches(3, 3, reread=True))
    assert given == 1


def test_a_failure_ahead_comes_after_the_batch_before_it(tmp_path: Path) -> None:
    output = Keeping()
    named = named_pipeline(tmp_path, [Batches(3, ValueError("broken"))], [output], restartable=False)
    with pytest.raises(ValueError, match="broken"):
        run_pipelines([named], threading.Event())
    assert output.got == [1] * 3
    assert output.position == Position("couch/medic", "1")


def test_what_was_made_and_not_taken_is_interrupted_and_left() -> None:
    woken = threading.Event()

    def make(patience: float) -> Any:
        assert woken.wait(patience)
        return "made"

    ahead = Ahead(make, woken.set)
    ahead.begin(PATIENCE)
    ahead.close()
    assert woken.is_set()
    assert not any("(ahead)" in one.name for one in threading.enumerate())
