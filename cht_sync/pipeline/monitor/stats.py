"""The answers of `/_node` and `/_node/stats`, in Logstash's shapes.

Source: Logstash's documentation, "Node Info API" and "Node Stats API", and its module logstash/api. What
Logstash has no name for is under `cht_sync`. Configurations are not shown: they may hold what is secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cht_sync.pipeline.monitor.flows import Flows
from cht_sync.pipeline.monitor.host import Host
from cht_sync.pipeline.monitor.metrics import (
    InputMetrics,
    OutputMetrics,
    PipelineMetrics,
    PluginMetrics,
    Registry,
    Reloads,
    Totals,
)
from cht_sync.pipeline.monitor.readiness import iso

MILLI = 1_000_000
"""Nanoseconds in a millisecond."""


class Stats:
    """Makes the members of the answers from what is counted."""

    def __init__(self, registry: Registry, flows: Flows, host: Host) -> None:
        self._registry = registry
        self._flows = flows
        self._host = host

    def info(self) -> dict[str, Any]:
        """All members of `/_node`."""
        return {
            "pipelines": {one.id: _settings(one) for one in self._registry.pipelines()},
            "os": self._host.node_os(),
            "jvm": self._host.node_jvm(),
        }

    def all(self, *, vertices: bool) -> dict[str, Any]:
        """All members of `/_node/stats`."""
        self._flows.capture()
        totals = sum((one.totals() for one in self._registry.pipelines()), Totals())
        return {
            "jvm": self._host.stats_jvm(),
            "process": self._host.stats_process(),
            "events": _events(totals),
            "flow": self._flows.node(),
            "pipelines": self._pipelines(vertices),
            "reloads": {
                "successes": self._registry.reloads.successes,
                "failures": self._registry.reloads.failures,
            },
            "os": {},
            "queue": {"events_count": 0},
        }

    def pipelines(self, *, vertices: bool) -> dict[str, Any]:
        """`pipelines` of `/_node/stats`."""
        self._flows.capture()
        return self._pipelines(vertices)

    def _pipelines(self, vertices: bool) -> dict[str, Any]:
        return {one.id: self._pipeline(one, vertices) for one in self._registry.pipelines()}

    def _pipeline(self, pipeline: PipelineMetrics, vertices: bool) -> dict[str, Any]:
        answer = {
            "events": _events(pipeline.totals()),
            "flow": self._flows.pipeline(pipeline),
            "plugins": {
                "inputs": [self._input(pipeline, one) for one in pipeline.inputs if one.shown],
                "codecs": [],
                "filters": self._workers(pipeline, pipeline.filters),
                "outputs": self._workers(pipeline, pipeline.outputs),
            },
            "reloads": _reloads(pipeline.reloads),
            "queue": {
                "type": "memory",
                "events_count": 0,
                "queue_size_in_bytes": 0,
                "max_queue_size_in_bytes": 0,
            },
            "pipeline": {
                "workers": pipeline.workers,
                "batch_size": pipeline.batch_size,
                "batch_delay": pipeline.batch_delay,
            },
            "hash": pipeline.hash,
            "ephemeral_id": pipeline.ephemeral_id,
            "cht_sync": _ours(pipeline),
        }
        if vertices:
            answer["vertices"] = [_vertex(pipeline, one) for one in _plugins(pipeline) if one.shown]
        return answer

    def _input(self, pipeline: PipelineMetrics, plugin: InputMetrics) -> dict[str, Any]:
        return {
            "id": plugin.id,
            "name": plugin.name,
            "events": {
                "out": plugin.events_out,
                "queue_push_duration_in_millis": plugin.queue_push // MILLI,
            },
            "flow": self._flows.plugin(pipeline, plugin),
        }

    def _workers(self, pipeline: PipelineMetrics, plugins: Sequence[PluginMetrics]) -> list[dict[str, Any]]:
        return [
            {
                "id": plugin.id,
                "name": plugin.name,
                "events": {
                    "in": plugin.events_in,
                    "out": plugin.events_out,
                    "duration_in_millis": plugin.duration // MILLI,
                },
                "flow": self._flows.plugin(pipeline, plugin),
            }
            for plugin in plugins
            if plugin.shown
        ]


def _settings(pipeline: PipelineMetrics) -> dict[str, Any]:
    path = pipeline.dead_letter_path
    return {
        "ephemeral_id": pipeline.ephemeral_id,
        "hash": pipeline.hash,
        "workers": pipeline.workers,
        "batch_size": pipeline.batch_size,
        "batch_delay": pipeline.batch_delay,
        "dead_letter_queue_enabled": True,
        "dead_letter_queue_path": None if path is None else str(path.absolute()),
    }


def _events(totals: Totals) -> dict[str, int]:
    return {
        "in": totals.events_in,
        "filtered": totals.filtered,
        "out": totals.out,
        "duration_in_millis": totals.duration // MILLI,
        "queue_push_duration_in_millis": totals.queue_push // MILLI,
    }


def _reloads(reloads: Reloads) -> dict[str, Any]:
    error = None if reloads.last_error is None else {"message": reloads.last_error, "backtrace": []}
    success, failure = reloads.last_success_at, reloads.last_failure_at
    return {
        "successes": reloads.successes,
        "failures": reloads.failures,
        "last_success_timestamp": None if success is None else iso(success),
        "last_failure_timestamp": None if failure is None else iso(failure),
        "last_error": error,
    }


def _ours(pipeline: PipelineMetrics) -> dict[str, Any]:
    """What Logstash does not tell; `seconds_behind` is that of the input that is worst off."""
    totals = pipeline.totals()
    backlogs = [one.backlog() for one in pipeline.inputs]
    acknowledged = pipeline.last_acknowledged_at
    return {
        "state": pipeline.state,
        "sources": [one.source for one in pipeline.inputs if one.source is not None],
        "batches": totals.batches,
        "in_flight": totals.in_flight,
        "pending": sum(one.pending for one in backlogs),
        "seconds_behind": round(max((one.seconds for one in backlogs), default=0.0), 3),
        "last_acknowledged": None if acknowledged is None else iso(acknowledged),
        "bytes_read": sum(one.bytes for one in pipeline.inputs),
        "bytes_sent": sum(one.bytes for one in pipeline.outputs),
        "reconnects": sum(one.reconnects for one in pipeline.inputs),
        "requests": sum(one.requests for one in pipeline.outputs),
        "retries": sum(one.retries for one in pipeline.outputs),
        "dead_letters": pipeline.dead_letters + sum(one.dead_letters for one in pipeline.outputs),
        "replaced_values": sum(one.replaced_values for one in pipeline.outputs),
        "failures": pipeline.failures,
        "problems": [one.text for one in pipeline.problems()],
    }


def _plugins(pipeline: PipelineMetrics) -> Sequence[InputMetrics | PluginMetrics | OutputMetrics]:
    return [*pipeline.inputs, *pipeline.filters, *pipeline.outputs]


def _vertex(pipeline: PipelineMetrics, plugin: PluginMetrics) -> dict[str, Any]:
    vertex: dict[str, Any] = {
        "id": plugin.id,
        "pipeline_ephemeral_id": pipeline.ephemeral_id,
        "events_out": plugin.events_out,
    }
    if isinstance(plugin, InputMetrics):
        return {**vertex, "queue_push_duration_in_millis": plugin.queue_push // MILLI}
    return {**vertex, "events_in": plugin.events_in, "duration_in_millis": plugin.duration // MILLI}
