"""Running an input: read, filter, deliver, acknowledge, in order.

While a large batch is on its way, the next one is read and filtered (see `ahead`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cht_sync.errors import ConfigError, OperatorNeeded, Superseded, sentences
from cht_sync.logs import fields
from cht_sync.pipeline.ahead import Ahead
from cht_sync.pipeline.contracts import Batch, Input, Output, Position, PositionKeeper
from cht_sync.pipeline.monitor.metrics import InputMetrics, OutputMetrics
from cht_sync.pipeline.named_pipeline import NamedPipeline
from cht_sync.pipeline.progress import Progress
from cht_sync.pipeline.sweep import Sweep

log = logging.getLogger(__name__)

SIGN_OF_LIFE = 58.0
"""Seconds after which an idle pipeline touches its progress: once a minute, as readers expect."""
LARGE = 100
"""Events in a batch that is on its way long enough for the next one to be made meanwhile."""
STANDBY = 10.0
"""Seconds between two looks whether an operator has spoken."""
LOOK_EVERY = 1.0
"""Seconds between two looks whether a writer that has taken over is gone."""
SAY_AGAIN = 300.0
"""Seconds after which a problem that waits for an operator is logged once more."""


@dataclass(frozen=True)
class _Ready:
    """A batch with what each output gets of each part of it, in order; `spent` are nanoseconds."""

    batch: Batch
    parts: Sequence[_Part]
    spent: int


@dataclass(frozen=True)
class _Part:
    """Events that go through filters and outputs together: as read, and what each output gets."""

    read: Batch
    passed: int
    """How many have passed the filters."""
    shares: Sequence[tuple[Output, Batch]]


class InputRunner:
    """Takes one input's batches to the outputs. Raises ConfigError where nobody would keep its position."""

    def __init__(self, named: NamedPipeline, source: Input, delivering: threading.Lock) -> None:
        self._named = named
        self._pipeline = named.pipeline
        self._source = source
        self._keeper = keeper_of(named, source)
        self._delivering = delivering
        self._metrics = named.pipeline.metrics
        self._counts = self._metrics.of(source, InputMetrics)
        self._position: Position | None = None
        self._said: tuple[str, float] = ("", 0.0)

    def run(self, stop: threading.Event) -> None:
        """Read until the input ends or `stop` is set. Another writer that takes over is waited for."""
        while not stop.is_set():
            try:
                self._follow(stop)
                return
            except Superseded as superseded:
                self._counts.loses_claim()
                self._counts.stopped(f"{superseded}; standing by until it ends")
                self._metrics.superseded += 1
                log.error(
                    "%s: %s; standing by until it ends",
                    self._named.id,
                    superseded,
                    extra=fields(
                        event="superseded",
                        pipeline=self._named.id,
                        source=self._counts.source,
                        code=superseded.code or None,
                    ),
                )
            self._stand_by(stop)

    def _follow(self, stop: threading.Event) -> None:
        """Read on from the saved position; where that does not fit what is there, wait for the operator."""
        try:
            if self._keeper is not None and self._source.source is not None:
                self._position = self._keeper.claim(self._source.source, stop)
            self._counts.claims(None if self._position is None else self._position.sequence)
            while not stop.is_set():
                try:
                    self._read_on(stop)
                    return
                except OperatorNeeded as problem:
                    self._ask_operator(problem, stop)
        finally:
            # A pipeline that has failed must not keep a standby waiting.
            if self._keeper is not None:
                self._keeper.fall_silent()

    def _read_on(self, stop: threading.Event) -> None:
        source = self._source
        sweep = Sweep(self._named.id, source, self._keeper)
        self._counts.started()
        progress = Progress(self._named.id, self._counts)
        ahead = Ahead(lambda patience: self._next(patience, stop), source.interrupt)
        try:
            source.start(self._position, stop)
            while self._take_one(ahead, sweep, progress, stop):
                pass
        finally:
            ahead.close()
            self._metrics.ended(acknowledged=False)
            self._counts.stopped()
            source.close()

    def _take_one(
        self, ahead: Ahead[_Ready | None], sweep: Sweep, progress: Progress, stop: threading.Event
    ) -> bool:
        """Take the next batch to the outputs; False where there is none, or it is not acknowledged.

        What is not acknowledged is read again next time. Nothing of a batch outlives this call, so that none
        is held in memory while the next one is waited for.
        """
        ready = ahead.take(sweep.patience(SIGN_OF_LIFE))
        if ready is None:
            return False
        batch = ready.batch
        if self._is_worth_running_ahead(batch):
            ahead.begin(SIGN_OF_LIFE)
        self._metrics.begin(len(batch.events), ready.spent)
        if not self._deliver(ready, stop):
            return False
        batch.ack()
        self._counts.delivered(None if batch.position is None else batch.position.sequence)
        self._metrics.ended(acknowledged=True)
        progress.stored(len(batch.events), batch.position)
        with self._delivering:
            sweep.go_on(batch, stop)
        return True

    def _is_worth_running_ahead(self, batch: Batch) -> bool:
        """Whether the next batch may be taken already: only where what was taken can be read again.

        A small batch is away and back before long; until then what arrives gathers, to be taken together.
        """
        return self._keeper is not None and len(batch.events) >= LARGE and not batch.reread

    def _next(self, patience: float, stop: threading.Event) -> _Ready | None:
        batch = self._source.read(stop, patience)
        if batch is None:
            return None
        self._counts.read(len(batch.events))
        began = time.perf_counter_ns()
        parts = [self._through(part) for part in self._parts(batch)]
        return _Ready(batch, parts, time.perf_counter_ns() - began)

    def _through(self, part: Batch) -> _Part:
        """Through the filters, and as far towards each output as goes without the output's destination."""
        passed = self._pipeline.filter(part.events)
        shares: list[tuple[Output, Batch]] = []
        for output, events in self._pipeline.route(passed):
            share = Batch(events)
            if self._keeper is not None and output is self._keeper:
                share = self._keeper.prepare(Batch(events, part.rejected, part.position))
            shares.append((output, share))
        # Who keeps the position comes last: it must not say what the others do not have.
        return _Part(part, len(passed), sorted(shares, key=lambda one: one[0] is self._keeper))

    def _deliver(self, ready: _Ready, stop: threading.Event) -> bool:
        delivered = 0
        for part in ready.parts:
            with self._delivering:
                if not self._write(part, stop):
                    return False
            delivered += part.passed
        self._metrics.worked(len(ready.batch.events), delivered)
        if self._keeper is not None:
            self._position = ready.batch.position or self._position
        return True

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        """Pieces of at most the wanted size; the position and what was rejected go with the last one."""
        size = self._named.batch_size
        if size is None or len(batch.events) <= size:
            yield batch
            return
        last = (len(batch.events) - 1) // size * size
        for start in range(0, last, size):
            yield Batch(batch.events[start : start + size])
        yield Batch(batch.events[last:], batch.rejected, batch.position)

    def _write(self, part: _Part, stop: threading.Event) -> bool:
        for output, share in part.shares:
            count = len(share.events)
            began = time.perf_counter_ns()
            if not output.write(share, stop):
                return False
            counts = self._metrics.of(output, OutputMetrics)
            counts.worked(count, count, time.perf_counter_ns() - began)
        rejected = part.read.rejected
        if self._keeper is None and rejected:
            self._named.dead_letters.append(rejected, self._counts)
            self._metrics.buried(len(rejected))
            codes = ", ".join(sorted({one.code for one in rejected}))
            log.error(
                "%s: %d changes are now dead letters: %s",
                self._named.id,
                len(rejected),
                codes,
                extra=fields(
                    event="dead_letter",
                    pipeline=self._named.id,
                    source=self._counts.source,
                    dead_letters=len(rejected),
                    code=codes,
                ),
            )
        return True

    def _ask_operator(self, problem: OperatorNeeded, stop: threading.Event) -> None:
        """Say what is wrong, show it in `status`, and give time to act.

        Raises Superseded once the operator has changed the position.
        """
        text = sentences(problem)
        self._counts.stopped(text)
        said, at = self._said
        if text != said or time.monotonic() - at >= SAY_AGAIN:
            log.error(
                "%s: %s",
                self._named.id,
                text,
                extra=fields(
                    event="operator_needed", pipeline=self._named.id, source=self._counts.source, error=text
                ),
            )
            self._said = (text, time.monotonic())
        if self._keeper is not None:
            self._keeper.report(text, stop)
        stop.wait(STANDBY)

    def _stand_by(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_EVERY):
            if self._keeper is None or self._keeper.is_released(stop):
                return


def keeper_of(named: NamedPipeline, source: Input) -> PositionKeeper | None:
    """Return the output that keeps the position of an input that has none itself. Raises ConfigError."""
    if source.source is None:
        return None
    keepers = [output for output in named.pipeline.outputs if isinstance(output, PositionKeeper)]
    if len(keepers) != 1:
        raise ConfigError(
            f'pipeline {named.id}: sequence_store => "postgrest" needs one http output with '
            f"position_headers => true; there are {len(keepers)}"
        )
    if sum(other.source is not None for other in named.pipeline.inputs) > 1:
        raise ConfigError(
            f'pipeline {named.id}: only one input may have sequence_store => "postgrest"; '
            "give each database a pipeline of its own"
        )
    return keepers[0]
