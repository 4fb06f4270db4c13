"""What is counted while pipelines run.

Counting is done once a batch, or once a portion of the feed, never once an event, and takes no lock that
is held for longer than a few additions. Whoever shows the figures asks for a `snapshot`; it keeps nobody
waiting.

Durations are nanoseconds of `time.perf_counter_ns`, moments are seconds of `time.monotonic` unless a name
ends in `_at`, which is a Unix time.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from cht_sync.pipeline.monitor.plugin_metrics import (
    LONGEST_PROBLEM,
    Backlog,
    Histogram,
    InputMetrics,
    OutputMetrics,
    PluginMetrics,
    Problem,
    Problems,
    Reason,
    presentable,
)

__all__ = [
    "LONGEST_PROBLEM",
    "Backlog",
    "Histogram",
    "InputMetrics",
    "OutputMetrics",
    "PipelineMetrics",
    "PipelineState",
    "PluginMetrics",
    "Problem",
    "Reason",
    "Registry",
    "Reloads",
    "Totals",
]

BATCH_EVENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)

PipelineState = Literal["loading", "running", "finished", "terminated"]


@dataclass
class Reloads:
    """How the configuration was reloaded; outlives the pipeline's metrics."""

    successes: int = 0
    failures: int = 0
    last_success_at: float | None = None
    last_failure_at: float | None = None
    last_error: str | None = None

    def succeeded(self) -> None:
        """The new configuration runs."""
        self.successes += 1
        self.last_success_at = time.time()

    def failed(self, error: str) -> None:
        """The new configuration was refused; the old one goes on."""
        self.failures += 1
        self.last_failure_at = time.time()
        self.last_error = presentable(error)


AnyPlugin = TypeVar("AnyPlugin", bound=PluginMetrics)


@dataclass(frozen=True)
class Totals:
    """The events of a pipeline, or of all of them; durations in nanoseconds."""

    events_in: int = 0
    filtered: int = 0
    out: int = 0
    duration: int = 0
    queue_push: int = 0
    in_flight: int = 0
    batches: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


@dataclass(eq=False)
class PipelineMetrics:
    """What one pipeline has done, and its plugins."""

    id: str
    hash: str = ""
    """Changes with the configuration."""
    workers: int = 1
    batch_size: int = 125
    batch_delay: int = 50
    reloads: Reloads = field(default_factory=Reloads)
    state: PipelineState = "loading"
    dead_letter_path: Path | None = None
    """Its own file, also before it is there."""

    def __post_init__(self) -> None:
        self.ephemeral_id = str(uuid.uuid4())
        self.started_at = time.time()
        self.started = time.monotonic()
        self.inputs: list[InputMetrics] = []
        self.filters: list[PluginMetrics] = []
        self.outputs: list[OutputMetrics] = []
        self.codecs: list[PluginMetrics] = []
        self.last_acknowledged_at: float | None = None
        self.last_event_at: float | None = None
        """When a batch with events was acknowledged for the last time."""
        self.batch_sizes = Histogram(BATCH_EVENTS)
        self.superseded = 0
        """How often another writer has taken over."""
        self.dead_letters = 0
        """Changes that no output keeps: those are in the pipeline's own file."""
        self.failures = 0
        self._failure = Problems()
        self._plugins: dict[int, PluginMetrics] = {}
        self._lock = threading.Lock()
        self._filtered = self._out = self._duration = self._batches = self._ended_inputs = 0
        self._open: dict[int, tuple[int, int]] = {}

    def add(self, kind: str, name: str, options: Any) -> PluginMetrics:
        """Return the metrics of one more plugin of the configuration, in its order."""
        shown = getattr(options, "enable_metric", True)
        siblings: list[Any] = getattr(self, f"{kind}s")
        id = getattr(options, "id", None) or f"{kind}_{name}_{len(siblings) + 1}"
        classes: dict[str, type[PluginMetrics]] = {"input": InputMetrics, "output": OutputMetrics}
        metrics = classes.get(kind, PluginMetrics)(kind, name, id, shown=shown)
        siblings.append(metrics)
        return metrics

    def attach(self, plugin: object, metrics: PluginMetrics) -> None:
        """Remember whose metrics these are."""
        self._plugins[id(plugin)] = metrics

    def of(self, plugin: object, kind: type[AnyPlugin]) -> AnyPlugin:
        """Return the metrics of a plugin that was attached; ones that nobody sees for any other."""
        found = self._plugins.get(id(plugin))
        return found if isinstance(found, kind) else kind("", "", "", shown=False)

    def begin(self, events: int, spent: int = 0) -> None:
        """This thread delivers a batch of so many events, on which `spent` ns were worked before."""
        began = (time.perf_counter_ns() - spent, events)
        with self._lock:
            self._open[threading.get_ident()] = began

    def worked(self, events_in: int, events_out: int) -> None:
        """Count the batch of this thread: it has gone through the filters and all outputs."""
        with self._lock:
            self._filtered += events_in
            self._out += events_out
            if events_in:
                self._batches += 1
                self.batch_sizes.observe(events_in)

    def ended(self, *, acknowledged: bool) -> None:
        """The batch of this thread is safe and the position says so; or it will be read again."""
        now = time.perf_counter_ns()
        with self._lock:
            began, events = self._open.pop(threading.get_ident(), (now, 0))
            self._duration += now - began
            if acknowledged:
                self.last_acknowledged_at = time.time()
                if events:
                    self.last_event_at = self.last_acknowledged_at

    def input_ended(self) -> None:
        """One of the inputs has nothing more to give, or was stopped."""
        with self._lock:
            self._ended_inputs += 1
            if self._ended_inputs >= len(self.inputs) and self.state == "running":
                self.state = "finished"

    def failed(self, problem: str) -> None:
        """It has ended because of a problem; it may begin again."""
        with self._lock:
            self.state = "terminated"
            self.failures += 1
            self._failure.set(problem, serious=True)

    def begins_again(self) -> None:
        """After a failure all inputs are started once more."""
        with self._lock:
            self.state = "running"
            self._ended_inputs = 0
            self._failure.clear()

    @property
    def failure(self) -> Problem | None:
        """Why it has ended, where it has failed."""
        return self._failure.current

    def buried(self, letters: int) -> None:
        """Count changes that are dead letters in the pipeline's own file."""
        with self._lock:
            self.dead_letters += letters

    def totals(self) -> Totals:
        """Return the figures of now; a batch that is being worked on counts with the time that it took."""
        now = time.perf_counter_ns()
        events_in = sum(one.events_out for one in self.inputs)
        queue_push = sum(one.queue_push for one in self.inputs)
        with self._lock:
            duration = self._duration + sum(now - began for began, _events in self._open.values())
            in_flight = sum(events for _began, events in self._open.values())
            return Totals(
                events_in, self._filtered, self._out, duration, queue_push, in_flight, self._batches
            )

    def problems(self) -> list[Problem]:
        """Return why it has ended, where it has failed, and what its plugins wait for."""
        ends: Sequence[InputMetrics | OutputMetrics] = [*self.inputs, *self.outputs]
        every = [self._failure, *(one.problem for one in ends)]
        return [one.current for one in every if one.current is not None]


class Registry:
    """The metrics of all pipelines of this process."""

    def __init__(self, node_id: str | None = None) -> None:
        """`node_id` stays the same from one run to the next where it is given."""
        self.node_id = node_id or str(uuid.uuid4())
        self.ephemeral_id = str(uuid.uuid4())
        self.started_at = time.time()
        self.reloads = Reloads()
        self._pipelines: dict[str, PipelineMetrics] = {}
        self._lock = threading.Lock()

    def add(self, metrics: PipelineMetrics) -> None:
        """Show a pipeline from now on, instead of an earlier one of the same id."""
        with self._lock:
            self._pipelines[metrics.id] = metrics

    def renewed(self, id: str, hash: str) -> PipelineMetrics:
        """Return metrics for another configuration of a pipeline; shown are they once they are added."""
        with self._lock:
            before = self._pipelines.get(id)
        return PipelineMetrics(id, hash, reloads=Reloads() if before is None else before.reloads)

    def reloaded(self, metrics: PipelineMetrics) -> None:
        """Show a pipeline that runs with another configuration from now on."""
        self.add(metrics)
        for reloads in (self.reloads, metrics.reloads):
            reloads.succeeded()

    def reload_failed(self, id: str, error: str) -> None:
        """Count another configuration of a pipeline that was refused; the one before goes on."""
        self.reloads.failed(error)
        with self._lock:
            shown = self._pipelines.get(id)
        if shown is not None:
            shown.reloads.failed(error)

    def remove(self, id: str) -> None:
        """Show a pipeline no more."""
        with self._lock:
            self._pipelines.pop(id, None)

    def pipelines(self) -> list[PipelineMetrics]:
        """Return those that there are now, in the order of their ids."""
        with self._lock:
            return [self._pipelines[id] for id in sorted(self._pipelines)]
