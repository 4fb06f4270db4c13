"""Running a pipeline: each input has a thread that reads, filters, delivers and acknowledges."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cht_sync.errors import ConfigError, OperatorNeeded, Superseded
from cht_sync.pipeline.config import Pipeline
from cht_sync.pipeline.contracts import Batch, Input, Position, PositionKeeper
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.monitor.metrics import InputMetrics, OutputMetrics, PipelineMetrics
from cht_sync.pipeline.sweep import Sweep

log = logging.getLogger(__name__)

SIGN_OF_LIFE = 30.0
"""Seconds after which an idle pipeline touches its progress; the schema wants one a minute."""
STANDBY = 10.0
"""Seconds between two looks whether a writer that has taken over is gone, or an operator has spoken."""
SAY_AGAIN = 300.0
"""Seconds after which a problem that waits for an operator is logged once more."""


@dataclass(frozen=True)
class NamedPipeline:
    """A pipeline, its id, and where it keeps changes that became no event and have no table to go to."""

    id: str
    pipeline: Pipeline
    dead_letters: DeadLetterFile


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
        events = self._pipeline.filter(batch.events)
        with self._delivering:
            if self._keeper is None:
                self._named.dead_letters.append(batch.rejected)
                self._metrics.buried(len(batch.rejected))
            for output, share in self._pipeline.route(events):
                kept = output is self._keeper
                part = Batch(share, batch.rejected if kept else [], batch.position if kept else None)
                began = time.perf_counter_ns()
                if not output.write(part, stop):
                    return False
                counts = self._metrics.of(output, OutputMetrics)
                counts.worked(len(share), len(share), time.perf_counter_ns() - began)
        self._metrics.worked(len(batch.events), len(events))
        if self._keeper is not None:
            self._position = batch.position or self._position
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


def run_pipelines(pipelines: Sequence[NamedPipeline], stop: threading.Event) -> None:
    """Run pipelines side by side until all have ended or `stop` is set.

    Raises the first error with which one of them ended; the others are stopped in order then.
    """
    failures: list[Exception] = []

    def guard(runner: _InputRunner, metrics: PipelineMetrics) -> None:
        try:
            runner.run(stop)
        except Exception as error:
            # Raised again below: a thread that ends unheard would leave its database standing still.
            failures.append(error)
            metrics.state = "terminated"
            stop.set()
        else:
            metrics.input_ended()

    threads: list[threading.Thread] = []
    inputs = [source for named in pipelines for source in named.pipeline.inputs]
    for named in pipelines:
        delivering = threading.Lock()
        for source in named.pipeline.inputs:
            runner = _InputRunner(named, source, delivering)
            metrics = named.pipeline.metrics
            # A daemon, so that a second signal can abandon one that waits for an answer.
            threads.append(threading.Thread(target=guard, args=(runner, metrics), name=named.id, daemon=True))
    try:
        for named in pipelines:
            named.pipeline.metrics.state = "running"
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                # In short steps, so that a signal reaches the main thread.
                thread.join(0.2)
                if stop.is_set():
                    for source in inputs:
                        source.interrupt()
    finally:
        for named in pipelines:
            named.pipeline.close()
    if failures:
        raise failures[0]


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
