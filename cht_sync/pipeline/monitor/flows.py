"""The flow metrics of every pipeline, of its plugins, and of all together, under Logstash's names.

Somebody calls `capture` every few seconds; windows can be no finer than that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from cht_sync.pipeline.monitor.flow import History, Rates
from cht_sync.pipeline.monitor.metrics import PipelineMetrics, PluginMetrics, Registry, Totals

PER_MILLION = 1e-6
"""Nanoseconds to milliseconds."""
PERCENT_OF_A_SECOND = 1e-7
"""Nanoseconds in a second to percent."""
PART_OF_A_SECOND = 1e-9


class Flows:
    """Histories by pipeline; a pipeline that was made anew begins a new one."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._histories: dict[str, History] = {}
        self._all = History(list(_figures(Totals())), self._started, _figures(Totals()))

    def capture(self) -> None:
        """Look at all counters now."""
        now = time.monotonic()
        pipelines = self._registry.pipelines()
        with self._lock:
            known = {one.ephemeral_id for one in pipelines}
            for gone in self._histories.keys() - known:
                del self._histories[gone]
            totals = Totals()
            for one in pipelines:
                figures = one.totals()
                totals += figures
                values = _figures(figures) | _plugin_figures(one)
                history = self._histories.get(one.ephemeral_id)
                if history is None:
                    history = History(list(values), one.started, dict.fromkeys(values, 0))
                    self._histories[one.ephemeral_id] = history
                history.capture(now, values)
            self._all.capture(now, _figures(totals))

    def node(self) -> dict[str, Rates]:
        """`flow` of `/_node/stats`."""
        return _throughputs(self._all)

    def pipeline(self, pipeline: PipelineMetrics) -> dict[str, Rates]:
        """`flow` of a pipeline."""
        history = self._history(pipeline)
        if history is None:
            return {}
        utilization = history.rates("duration", factor=PERCENT_OF_A_SECOND / pipeline.workers)
        return {**_throughputs(history), "worker_utilization": utilization}

    def plugin(self, pipeline: PipelineMetrics, plugin: PluginMetrics) -> dict[str, Rates]:
        """`flow` of an input, a filter or an output."""
        history = self._history(pipeline)
        if history is None:
            return {}
        key = f"{plugin.kind}/{plugin.id}"
        if plugin.kind == "input":
            return {"throughput": history.rates(f"{key}/out")}
        return {
            "worker_utilization": history.rates(
                f"{key}/duration", factor=PERCENT_OF_A_SECOND / pipeline.workers
            ),
            "worker_millis_per_event": history.rates(f"{key}/duration", f"{key}/in", PER_MILLION),
        }

    def _history(self, pipeline: PipelineMetrics) -> History | None:
        with self._lock:
            return self._histories.get(pipeline.ephemeral_id)


def _figures(totals: Totals) -> dict[str, float]:
    return {
        "in": totals.events_in,
        "filtered": totals.filtered,
        "out": totals.out,
        "duration": totals.duration,
        "queue_push": totals.queue_push,
    }


def _plugin_figures(pipeline: PipelineMetrics) -> dict[str, Any]:
    return dict(_each_figure(pipeline))


def _each_figure(pipeline: PipelineMetrics) -> Iterator[tuple[str, float]]:
    for plugin in (*pipeline.inputs, *pipeline.filters, *pipeline.outputs):
        key = f"{plugin.kind}/{plugin.id}"
        yield f"{key}/out", plugin.events_out
        if plugin.kind != "input":
            yield f"{key}/in", plugin.events_in
            yield f"{key}/duration", plugin.duration


def _throughputs(history: History) -> dict[str, Rates]:
    return {
        "input_throughput": history.rates("in"),
        "filter_throughput": history.rates("filtered"),
        "output_throughput": history.rates("out"),
        "queue_backpressure": history.rates("queue_push", factor=PART_OF_A_SECOND),
        "worker_concurrency": history.rates("duration", factor=PART_OF_A_SECOND),
    }
