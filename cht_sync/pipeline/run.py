"""Running a pipeline: each input has a thread that reads, filters, delivers and acknowledges."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cht_sync.errors import ConfigError, OperatorNeeded, Superseded
from cht_sync.pipeline.config import Pipeline
from cht_sync.pipeline.contracts import Batch, Input, Position, PositionKeeper
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.monitor.metrics import InputMetrics, OutputMetrics
from cht_sync.pipeline.sweep import Sweep

log = logging.getLogger(__name__)

SIGN_OF_LIFE = 30.0
"""Seconds after which an idle pipeline touches its progress; the schema wants one a minute."""
STANDBY = 10.0
"""Seconds between two looks whether a writer that has taken over is gone, or an operator has spoken."""
STEP = 0.2
"""Seconds after which a signal is noticed at the latest."""
SAY_AGAIN = 300.0
"""Seconds after which a problem that waits for an operator is logged once more."""


@dataclass(frozen=True)
class NamedPipeline:
    """A pipeline, its id, and where it keeps changes that became no event and have no table to go to."""

    id: str
    pipeline: Pipeline
    dead_letters: DeadLetterFile
    batch_size: int | None = None
    """Most events that go through filters and outputs at once; None: as many as the input gives."""
    reloadable: bool = True


class _InputRunner:
    """Takes one input's batches to the outputs."""

    def __init__(self, named: NamedPipeline, source: Input, delivering: threading.Lock) -> None:
        self._named = named
        self._pipeline = named.pipeline
        self._source = source
        self._keeper = _keeper(named, source)
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
                self._counts.claimed = False
                self._counts.stopped(f"{superseded}; standing by until it ends")
                log.error("%s: %s; standing by until it ends", self._named.id, superseded)
            self._stand_by(stop)

    def _follow(self, stop: threading.Event) -> None:
        """Read on from the saved position; where that does not fit what is there, wait for the operator."""
        if self._keeper is not None and self._source.source is not None:
            self._position = self._keeper.claim(self._source.source, stop)
        self._counts.claimed = True
        while not stop.is_set():
            try:
                self._read_on(stop)
                return
            except OperatorNeeded as problem:
                self._ask_operator(problem, stop)

    def _read_on(self, stop: threading.Event) -> None:
        source = self._source
        sweep = Sweep(self._named.id, source, self._keeper)
        self._counts.started()
        try:
            source.start(self._position, stop)
            while (batch := source.read(stop, sweep.patience(SIGN_OF_LIFE))) is not None:
                self._counts.read(len(batch.events))
                self._metrics.begin(len(batch.events))
                if not self._deliver(batch, stop):
                    return  # not acknowledged: read again next time
                batch.ack()
                self._metrics.ended(acknowledged=True)
                with self._delivering:
                    sweep.go_on(batch, stop)
        finally:
            self._metrics.ended(acknowledged=False)
            self._counts.stopped()
            source.close()

    def _deliver(self, batch: Batch, stop: threading.Event) -> bool:
        read = len(batch.events)
        delivered = 0
        for part in self._parts(batch):
            events = self._pipeline.filter(part.events)
            with self._delivering:
                if not self._write(part, events, stop):
                    return False
            delivered += len(events)
        self._metrics.worked(read, delivered)
        if self._keeper is not None:
            self._position = batch.position or self._position
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

    def _write(self, part: Batch, events: list[Event], stop: threading.Event) -> bool:
        shares = self._pipeline.route(events)
        # Who keeps the position comes last: it must not say what the others do not have.
        for output, share in sorted(shares, key=lambda one: one[0] is self._keeper):
            kept = output is self._keeper
            shared = Batch(share, part.rejected if kept else [], part.position if kept else None)
            began = time.perf_counter_ns()
            if not output.write(shared, stop):
                return False
            counts = self._metrics.of(output, OutputMetrics)
            counts.worked(len(share), len(share), time.perf_counter_ns() - began)
        if self._keeper is None and part.rejected:
            self._named.dead_letters.append(part.rejected, self._counts)
            self._metrics.buried(len(part.rejected))
            codes = ", ".join(sorted({one.code for one in part.rejected}))
            log.error("%s: %d changes are now dead letters: %s", self._named.id, len(part.rejected), codes)
        return True

    def _ask_operator(self, problem: OperatorNeeded, stop: threading.Event) -> None:
        """Say what is wrong, show it in `status`, and give time to act.

        Raises Superseded once the operator has changed the position.
        """
        text = f"{problem.message.rstrip('.')}. {problem.hint}" if problem.hint else problem.message
        self._counts.stopped(text)
        said, at = self._said
        if text != said or time.monotonic() - at >= SAY_AGAIN:
            log.error("%s: %s", self._named.id, text)
            self._said = (text, time.monotonic())
        if self._keeper is not None:
            self._keeper.report(text, stop)
        stop.wait(STANDBY)

    def _stand_by(self, stop: threading.Event) -> None:
        while not stop.wait(STANDBY):
            if self._keeper is None or self._keeper.is_released(stop):
                return


class _Stop(threading.Event):
    """The stop of one pipeline; that of all of them counts at once, and ends a wait within STEP."""

    def __init__(self, of_all: threading.Event) -> None:
        super().__init__()
        self._of_all = of_all

    def is_set(self) -> bool:
        return super().is_set() or self._of_all.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set() or super().wait(timeout) or self.is_set()


class RunningPipeline:
    """One pipeline at work: a thread for each input.

    Raises ConfigError where nobody would keep an input's position.
    """

    def __init__(self, named: NamedPipeline, stop: threading.Event, woken: threading.Event) -> None:
        """`stop` ends it like all others; `woken` is set whenever an input has ended."""
        self.named = named
        self.failure: Exception | None = None
        self._metrics = named.pipeline.metrics
        self._woken = woken
        self._stop = _Stop(stop)
        self._lock = threading.Lock()
        self._at_work = 0
        delivering = threading.Lock()
        # Daemons, so that a second signal can abandon one that waits for an answer.
        self._threads = [
            threading.Thread(
                target=self._guard,
                args=(_InputRunner(named, source, delivering),),
                name=named.id,
                daemon=True,
            )
            for source in named.pipeline.inputs
        ]

    def start(self) -> None:
        """Begin to read."""
        self._metrics.state = "running"
        self._at_work = len(self._threads)
        for thread in self._threads:
            thread.start()

    def is_alive(self) -> bool:
        """Whether one of its inputs is still at work."""
        return self._at_work > 0

    def ask_to_stop(self) -> None:
        """Let it finish the batch that it delivers, or give up waiting; may be called again and again."""
        self._stop.set()
        for source in self.named.pipeline.inputs:
            source.interrupt()

    def close(self) -> None:
        """Let go of everything; what was not acknowledged will be read again."""
        self.named.pipeline.close()

    def _guard(self, runner: _InputRunner) -> None:
        try:
            runner.run(self._stop)
        except Exception as error:
            # Raised again by who runs it: a thread that ends unheard would leave its database standing still.
            self.failure = self.failure or error
            self._metrics.state = "terminated"
        else:
            self._metrics.input_ended()
        finally:
            with self._lock:
                self._at_work -= 1
            self._woken.set()


def run_pipelines(
    pipelines: Sequence[NamedPipeline], stop: threading.Event, reload: Reload | None = None
) -> None:
    """Run pipelines side by side until all have ended or `stop` is set; `reload` may replace some meanwhile.

    Raises the first error with which one of them ended; the others are stopped in order then.
    """
    woken = threading.Event()

    def make(named: NamedPipeline) -> RunningPipeline:
        return RunningPipeline(named, stop, woken)

    running = [make(named) for named in pipelines]
    try:
        for one in running:
            one.start()
        while _any_alive(running) or (reload is not None and reload.keeps_on and not _is_over(running, stop)):
            # In short steps, so that a signal reaches the main thread.
            woken.wait(STEP)
            woken.clear()
            if _is_over(running, stop):
                for one in running:
                    one.ask_to_stop()
            elif reload is not None and (change := reload.look({one.named.id: one for one in running}, make)):
                running = _apply(change, running, stop)
    except KeyboardInterrupt:
        raise  # abandoned: nobody waits for what does not answer
    except BaseException:
        _close(running)
        raise
    _close(running)
    for one in running:
        if one.failure is not None:
            raise one.failure


@dataclass(frozen=True)
class Change:
    """What a reload does: pipelines that go, and those that come, in the place of others or new."""

    leaving: Sequence[RunningPipeline]
    coming: Sequence[RunningPipeline]
    show: Callable[[], None]
    """Called between the two: tells the monitoring API."""


Make = Callable[[NamedPipeline], RunningPipeline]
"""Prepares a pipeline. Raises ConfigError."""


class Reload(Protocol):
    """Looks from time to time whether other pipelines are wanted."""

    keeps_on: bool
    """Whether pipelines may come when all have ended."""

    def look(self, running: Mapping[str, RunningPipeline], make: Make) -> Change | None:
        """Return what is to change, None for nothing; `make` makes what comes."""


def _apply(
    change: Change, running: Sequence[RunningPipeline], stop: threading.Event
) -> list[RunningPipeline]:
    """Stop what goes, in order, then start what comes: each begins where the other has ended."""
    while _any_alive(change.leaving):
        for one in change.leaving:
            one.ask_to_stop()
        threading.Event().wait(STEP / 4)
    for one in change.leaving:
        one.close()
        if one.failure is not None:
            log.error("%s: ended with an error while it was stopped: %s", one.named.id, one.failure)
    change.show()
    for one in change.coming:
        if not stop.is_set():
            one.start()
    return [*(one for one in running if one not in change.leaving), *change.coming]


def _is_over(running: Sequence[RunningPipeline], stop: threading.Event) -> bool:
    return stop.is_set() or any(one.failure is not None for one in running)


def _any_alive(running: Sequence[RunningPipeline]) -> bool:
    return any(one.is_alive() for one in running)


def _close(running: Sequence[RunningPipeline]) -> None:
    for one in running:
        one.close()


def _keeper(named: NamedPipeline, source: Input) -> PositionKeeper | None:
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
