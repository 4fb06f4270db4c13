"""What is counted while pipelines run.

Counting is done once a batch, or once a portion of the feed, never once an event, and takes no lock that
is held for longer than a few additions. Whoever shows the figures asks for a `snapshot`; it keeps nobody
waiting.

Durations are nanoseconds of `time.perf_counter_ns`, moments are seconds of `time.monotonic` unless a name
ends in `_at`, which is a Unix time.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

LONGEST_PROBLEM = 500
"""Characters of a problem's text that are kept."""

PipelineState = Literal["loading", "running", "finished", "terminated"]

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")


@dataclass(frozen=True)
class Problem:
    """Why something waits. `serious` problems wait for an operator, the others mend themselves."""

    text: str
    serious: bool
    since_at: float


class _Problems:
    """The problem of one plugin; it keeps the moment at which the first of a row of problems began."""

    def __init__(self) -> None:
        self.current: Problem | None = None

    def set(self, text: str, *, serious: bool) -> None:
        """Remember it, without credentials of addresses."""
        before = self.current
        text = _CREDENTIALS.sub("", text)[:LONGEST_PROBLEM]
        self.current = Problem(text, serious, time.time() if before is None else before.since_at)

    def clear(self) -> None:
        self.current = None


class PluginMetrics:
    """What one plugin has done: events in and out, and the time that it took."""

    def __init__(self, kind: str, name: str, id: str, *, shown: bool = True) -> None:
        self.kind = kind
        self.name = name
        self.id = id
        self.shown = shown
        self.events_in = 0
        self.events_out = 0
        self.duration = 0
        self.lock = threading.Lock()

    def worked(self, events_in: int, events_out: int, duration: int) -> None:
        """Count a batch that has gone through the plugin."""
        with self.lock:
            self.events_in += events_in
            self.events_out += events_out
            self.duration += duration


@dataclass(frozen=True)
class Backlog:
    """How far an input is behind its source.

    `pending` changes are not acknowledged, as far as this process knows: those that it has read, and what
    the source said was behind them. There may be more. `seconds` is 0 when nothing waits, else the time
    since nothing waited for the last time; at most as long as this process lives.
    """

    pending: int
    seconds: float


class InputMetrics(PluginMetrics):
    """What an input has read, how far it is behind, and how its connection is.

    An input that knows no backlog calls none of the methods for it and is never behind. One that says
    when it connects says too when its problem is over; that of any other is over when events come.
    """

    def __init__(self, kind: str, name: str, id: str, *, shown: bool = True) -> None:
        super().__init__(kind, name, id, shown=shown)
        self.source: str | None = None
        """`<host>/<database>`, where the input has one."""
        self.claimed = False
        """Whether this pipeline is the one writer of the source, where there has to be one."""
        self.reading = False
        self.queue_push = 0
        self.bytes = 0
        self.reconnects = 0
        self.problem = _Problems()
        self._outstanding = 0
        self._at_the_source = 0
        self._is_at_end = True
        self._behind_since: float | None = None
        self._says_when_connected = False

    def read(self, events: int) -> None:
        """Count a batch that the engine has taken from the input."""
        with self.lock:
            self.events_out += events
            if events and not self._says_when_connected:
                self.problem.clear()

    def started(self) -> None:
        """Reading begins, maybe once more: what was not acknowledged will be read again."""
        with self.lock:
            self.reading = True
            self._outstanding = 0

    def stopped(self, problem: str | None = None) -> None:
        """Nothing is read; with a problem, until an operator or another writer has mended that."""
        with self.lock:
            self.reading = False
            if problem is not None:
                self.problem.set(problem, serious=True)
                self._lose_sight()

    def connecting(self) -> None:
        """Nothing is known of the source before it has answered."""
        with self.lock:
            self._says_when_connected = True
            self.reading = False
            self._lose_sight()

    def connected(self) -> None:
        """The source answers."""
        if not self.reading or self.problem.current is not None:
            with self.lock:
                self.reading = True
                self.problem.clear()

    def lost(self, problem: str, *, serious: bool = False) -> None:
        """The source does not answer; it will be asked again."""
        with self.lock:
            self.reading = False
            self.reconnects += 1
            self.problem.set(problem, serious=serious)
            self._lose_sight()

    def reconnected(self) -> None:
        """A feed has ended in order and is asked for once more."""
        with self.lock:
            self.reconnects += 1

    def offered(self, changes: int, size: int, *, behind: int | None, at_end: bool) -> None:
        """Changes were read and wait for the engine.

        `behind` more wait at the source, None where it did not say now.
        """
        with self.lock:
            self.bytes += size
            self._outstanding += changes
            self._at_the_source = max(0, self._at_the_source - changes) if behind is None else behind
            self._is_at_end = at_end
            if not self._outstanding and at_end:
                self._behind_since = None
            elif self._behind_since is None:
                self._behind_since = time.monotonic()

    def waits_at_the_source(self, changes: int) -> None:
        """So many changes come after those that were read."""
        with self.lock:
            self._at_the_source = changes
            self._is_at_end = self._is_at_end and not changes

    def pushed(self, duration: int) -> None:
        """Count the time that it took until the engine had room."""
        with self.lock:
            self.queue_push += duration

    def acknowledged(self, changes: int) -> None:
        """So many of the changes that were offered are safe."""
        with self.lock:
            self._outstanding = max(0, self._outstanding - changes)
            if not self._outstanding and self._is_at_end:
                self._behind_since = None

    def backlog(self) -> Backlog:
        """Return how far the input is behind now."""
        with self.lock:
            pending = self._outstanding + (0 if self._is_at_end else self._at_the_source)
            since = self._behind_since
        return Backlog(pending, 0.0 if since is None else max(0.0, time.monotonic() - since))

    def _lose_sight(self) -> None:
        self._is_at_end = False
        if self._behind_since is None:
            self._behind_since = time.monotonic()


class OutputMetrics(PluginMetrics):
    """What an output has sent, and what went wrong with it."""

    def __init__(self, kind: str, name: str, id: str, *, shown: bool = True) -> None:
        super().__init__(kind, name, id, shown=shown)
        self.requests = 0
        self.bytes = 0
        self.retries = 0
        self.dead_letters = 0
        self.replaced_values = 0
        self.problem = _Problems()

    def sent(self, size: int) -> None:
        """Count a request that the destination has accepted."""
        with self.lock:
            self.requests += 1
            self.bytes += size
            self.problem.clear()

    def answered(self) -> None:
        """The destination answers, whatever was asked."""
        if self.problem.current is not None:
            with self.lock:
                self.problem.clear()

    def failed(self, problem: str, *, serious: bool) -> None:
        """Count a try that will be repeated."""
        with self.lock:
            self.retries += 1
            self.problem.set(problem, serious=serious)

    def buried(self, letters: int) -> None:
        """Count changes that are dead letters now."""
        with self.lock:
            self.dead_letters += letters

    def replaced(self, documents: int) -> None:
        """Count documents that are stored with replacements for what the destination cannot hold."""
        with self.lock:
            self.replaced_values += documents


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
        self.last_error = _CREDENTIALS.sub("", error)[:LONGEST_PROBLEM]


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

    def __post_init__(self) -> None:
        self.ephemeral_id = str(uuid.uuid4())
        self.started_at = time.time()
        self.started = time.monotonic()
        self.inputs: list[InputMetrics] = []
        self.filters: list[PluginMetrics] = []
        self.outputs: list[OutputMetrics] = []
        self.codecs: list[PluginMetrics] = []
        self.last_acknowledged_at: float | None = None
        self.dead_letters = 0
        """Changes that no output keeps: those are in the pipeline's own file."""
        self.failures = 0
        self._failure = _Problems()
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

    def begin(self, events: int) -> None:
        """A batch of so many events is worked on by this thread from now on."""
        began = (time.perf_counter_ns(), events)
        with self._lock:
            self._open[threading.get_ident()] = began

    def worked(self, events_in: int, events_out: int) -> None:
        """Count the batch of this thread: it has gone through the filters and all outputs."""
        with self._lock:
            self._filtered += events_in
            self._out += events_out
            self._batches += events_in > 0

    def ended(self, *, acknowledged: bool) -> None:
        """The batch of this thread is safe and the position says so; or it will be read again."""
        now = time.perf_counter_ns()
        with self._lock:
            began, _events = self._open.pop(threading.get_ident(), (now, 0))
            self._duration += now - began
            if acknowledged:
                self.last_acknowledged_at = time.time()

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
