"""Whatever fails, and wherever: the position never passes what is not delivered, and nothing is left out."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from cht_sync.pipeline import input_runner
from cht_sync.pipeline.config.build import Pipeline
from cht_sync.pipeline.config.routing import unconditional
from cht_sync.pipeline.contracts import Batch, Position, StoredDocument
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.named_pipeline import NamedPipeline
from cht_sync.pipeline.run import run_pipelines

SOURCE = "couch/medic"


class Crash(Exception):
    """Plays the death of the process."""


@dataclass
class Numbers:
    """An input whose events are numbers; a position is the number of events before it."""

    sizes: Sequence[int]
    source: str | None
    saved: int = 0
    at: int = 0

    def start(self, position: Position | None, stop: threading.Event) -> None:
        self.at = int(position.sequence) if position else self.saved

    def read(self, stop: threading.Event, timeout: float) -> Batch | None:
        ends = [end for end in accumulate(self.sizes) if end > self.at]
        if stop.is_set() or not ends:
            return None
        first, self.at = self.at, ends[0]

        def save(end: int = ends[0]) -> None:
            self.saved = end

        events = [Event({"n": n}) for n in range(first, ends[0])]
        return Batch(events, position=Position(SOURCE, str(ends[0])), ack=save)

    def interrupt(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass
class Sink:
    """An output with faults: what it does at the write of each number, else it takes everything."""

    faults: dict[int, str]
    got: list[int] = field(default_factory=list)
    position: Position | None = None
    writes: int = 0

    def write(self, batch: Batch, stop: threading.Event) -> bool:
        self.writes += 1
        fault = self.faults.get(self.writes)
        if fault == "dies before":
            raise Crash
        if fault == "gives up":
            return False
        self.got += [event.get("n") for event in batch.events]
        self.position = batch.position or self.position
        if fault == "dies after":
            raise Crash
        return True

    def close(self) -> None:
        """Nothing to let go of."""


class KeepingSink(Sink):
    """It keeps the position too."""

    def claim(self, source: str, stop: threading.Event) -> Position | None:
        return self.position

    def prepare(self, batch: Batch) -> Batch:
        return batch

    def report(self, problem: str, stop: threading.Event) -> None:
        raise AssertionError(problem)

    def stored_after(self, document_id: str, stop: threading.Event) -> list[StoredDocument]:
        return []

    def bury(self, documents: Sequence[StoredDocument], stop: threading.Event) -> bool:
        return True

    def fall_silent(self) -> None:
        pass

    def is_released(self, stop: threading.Event) -> bool:
        return True


FAULTS = st.dictionaries(
    st.integers(1, 25), st.sampled_from(["dies before", "dies after", "gives up"]), max_size=8
)


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), max_size=8),
    batch_size=st.none() | st.integers(1, 4),
    faults=st.lists(FAULTS, min_size=1, max_size=2),
    kept=st.booleans(),
    large=st.sampled_from([1, 5, 100]),
)
def test_the_position_never_passes_what_is_not_delivered(
    sizes: list[int], batch_size: int | None, faults: list[dict[int, str]], kept: bool, large: int
) -> None:
    source = Numbers(sizes, SOURCE if kept else None)
    sinks: list[Sink] = [(KeepingSink if kept else Sink)(faults[0]), *(Sink(more) for more in faults[1:])]
    with tempfile.TemporaryDirectory() as folder:
        for _life in range(30):
            pipeline = Pipeline([source], lambda events: events, unconditional(sinks), list(sinks))
            named = NamedPipeline("medic", pipeline, DeadLetterFile(Path(folder), "medic"), batch_size)
            with contextlib.suppress(Crash), mock.patch.object(input_runner, "LARGE", large):
                run_pipelines([named], threading.Event())
            saved = source.saved
            if kept and sinks[0].position is not None:
                saved = int(sinks[0].position.sequence)
                assert source.saved <= saved
            for sink in sinks:
                assert set(range(saved)) <= set(sink.got)
            if saved == sum(sizes):
                break
    assert saved == sum(sizes)
    for sink in sinks:
        assert sorted(set(sink.got)) == list(range(sum(sizes)))
        # What comes again comes in order, too: each step is the next event, or back to a position.
        ends = {0, *accumulate(sizes)}
        assert all(b == a + 1 or b in ends for a, b in zip(sink.got, sink.got[1:], strict=False))
