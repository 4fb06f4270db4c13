"""`/metrics`: the figures as Prometheus reads them.

Source: Prometheus' documentation, "Exposition formats", text format 0.0.4. The pipeline of a rendered
configuration has the name of its database.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from cht_sync import __version__, watchdog
from cht_sync.pipeline.monitor.host import Host
from cht_sync.pipeline.monitor.metrics import Histogram, PipelineMetrics, Reason, Registry
from cht_sync.pipeline.monitor.readiness import unready

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECOND = 1e9
"""Nanoseconds in a second."""


@dataclass(frozen=True)
class Family:
    """One metric: how it is called, what it says, and where its value is; None: no value."""

    name: str
    type: str
    help: str
    value: Callable[[PipelineMetrics], float | None]


def _behind(pipeline: PipelineMetrics) -> float:
    return max((one.backlog().seconds for one in pipeline.inputs), default=0.0)


FAMILIES = (
    Family(
        "cht_sync_pipeline_ready",
        "gauge",
        "1 while the pipeline is the writer of its database, reads, and waits for nothing.",
        lambda one: not unready([one]),
    ),
    Family(
        "cht_sync_pipeline_failed",
        "gauge",
        "1 while the pipeline has ended with a failure, and is not tried again yet.",
        lambda one: one.failure is not None,
    ),
    Family(
        "cht_sync_pipeline_failures_total",
        "counter",
        "Failures with which the pipeline ended; after each it is tried again.",
        lambda one: one.failures,
    ),
    Family(
        "cht_sync_documents_in_total",
        "counter",
        "Documents that were read. A document that changes again before it is taken counts once.",
        lambda one: one.totals().events_in,
    ),
    Family(
        "cht_sync_documents_filtered_total",
        "counter",
        "Documents that went through the filters and were delivered, or dropped by a filter.",
        lambda one: one.totals().filtered,
    ),
    Family(
        "cht_sync_documents_out_total",
        "counter",
        "Documents that were left after the filters and were delivered.",
        lambda one: one.totals().out,
    ),
    Family("cht_sync_batches_total", "counter", "Batches delivered.", lambda one: one.totals().batches),
    Family(
        "cht_sync_read_bytes_total",
        "counter",
        "Bytes of the documents that were read.",
        lambda one: sum(source.bytes for source in one.inputs),
    ),
    Family(
        "cht_sync_sent_bytes_total",
        "counter",
        "Bytes of accepted requests.",
        lambda one: sum(output.bytes for output in one.outputs),
    ),
    Family(
        "cht_sync_requests_total",
        "counter",
        "Requests with documents or signs of life that were accepted.",
        lambda one: sum(output.requests for output in one.outputs),
    ),
    Family(
        "cht_sync_retries_total",
        "counter",
        "Requests to the destination that failed and were tried again.",
        lambda one: sum(output.retries for output in one.outputs),
    ),
    Family(
        "cht_sync_rows_total",
        "counter",
        "Events of accepted requests; what was sent twice counts twice.",
        lambda one: sum(output.rows for output in one.outputs),
    ),
    Family(
        "cht_sync_reconnects_total",
        "counter",
        "Requests to the source that were made again because the one before failed or its feed ended.",
        lambda one: sum(source.reconnects for source in one.inputs),
    ),
    Family(
        "cht_sync_dead_letters_total",
        "counter",
        "Changes that became dead letters, those that were there already included.",
        lambda one: one.dead_letters + sum(output.dead_letters for output in one.outputs),
    ),
    Family(
        "cht_sync_replaced_values_total",
        "counter",
        "Documents stored with U+FFFD in the place of what PostgreSQL cannot hold.",
        lambda one: sum(output.replaced_values for output in one.outputs),
    ),
    Family(
        "cht_sync_pending_changes",
        "gauge",
        "Changes that are known and not yet stored; there may be more.",
        lambda one: sum(source.backlog().pending for source in one.inputs),
    ),
    Family(
        "cht_sync_in_flight_documents",
        "gauge",
        "Documents of the batch that is on its way.",
        lambda one: one.totals().in_flight,
    ),
    Family(
        "cht_sync_seconds_behind",
        "gauge",
        "0 when nothing waits, else the seconds since nothing waited, or since the start.",
        _behind,
    ),
    Family(
        "cht_sync_last_acknowledged_timestamp_seconds",
        "gauge",
        "When a batch, or a sign of life, was stored for the last time.",
        lambda one: one.last_acknowledged_at,
    ),
    Family(
        "cht_sync_last_document_timestamp_seconds",
        "gauge",
        "When a batch with documents was stored for the last time.",
        lambda one: one.last_event_at,
    ),
    Family(
        "cht_sync_writer_claimed",
        "gauge",
        "1 while the pipeline is the writer of its database; 0 until it is, and while it stands by.",
        lambda one: all(source.claimed for source in one.inputs),
    ),
    Family(
        "cht_sync_writer_epoch",
        "gauge",
        "The number with which the pipeline became the writer; each time it does, it is a greater one.",
        lambda one: max((output.epoch for output in one.outputs if output.epoch is not None), default=None),
    ),
    Family(
        "cht_sync_superseded_total",
        "counter",
        "How often another writer has taken over.",
        lambda one: one.superseded,
    ),
    Family(
        "cht_sync_working_seconds_total",
        "counter",
        "Time spent on batches: filters, delivery, and waiting for the destination.",
        lambda one: one.totals().duration / SECOND,
    ),
    Family(
        "cht_sync_queue_push_seconds_total",
        "counter",
        "Time for which the reader of the feed waited for room.",
        lambda one: one.totals().queue_push / SECOND,
    ),
    Family(
        "cht_sync_problems",
        "gauge",
        "How many parts of the pipeline wait for something; /_health_report says for what.",
        lambda one: len(one.problems()),
    ),
    Family(
        "cht_sync_reloads_total",
        "counter",
        "Changed configurations that were taken.",
        lambda one: one.reloads.successes,
    ),
    Family(
        "cht_sync_failed_reloads_total",
        "counter",
        "Changed configurations that were refused.",
        lambda one: one.reloads.failures,
    ),
)
FAILED_REQUESTS = "cht_sync_failed_requests_total"
HISTOGRAMS: tuple[tuple[str, str, Callable[[PipelineMetrics], Sequence[Histogram]]], ...] = (
    (
        "cht_sync_request_duration_seconds",
        "From a request to its answer, of accepted requests.",
        lambda one: [output.request_seconds for output in one.outputs],
    ),
    (
        "cht_sync_batch_documents",
        "Documents in a batch.",
        lambda one: [one.batch_sizes],
    ),
)
# The words of Prometheus' clients.
PROCESS_HELP = {
    "process_cpu_seconds_total": "Total user and system CPU time spent in seconds.",
    "process_max_fds": "Maximum number of open file descriptors.",
    "process_open_fds": "Number of open file descriptors.",
    "process_resident_memory_bytes": "Resident memory size in bytes.",
    "process_start_time_seconds": "Start time of the process since unix epoch in seconds.",
    "process_virtual_memory_bytes": "Virtual memory size in bytes.",
}
DISK_HELP = {
    "cht_sync_disk_free_bytes": "Bytes that this process may still write to the disk of its data folder.",
    "cht_sync_disk_size_bytes": "Size of that disk.",
}
PLUGIN_FAMILIES = (
    ("cht_sync_plugin_events_in_total", "Events that the plugin was given."),
    ("cht_sync_plugin_events_out_total", "Events that came out of the plugin."),
    ("cht_sync_plugin_seconds_total", "Time that the plugin took."),
)


def exposition(registry: Registry, host: Host) -> str:
    """Return all figures as text."""
    pipelines = registry.pipelines()
    lines = [*_family("cht_sync_info", "gauge", "Version of cht-sync.", [({"version": __version__}, 1)])]
    for name, value in host.prometheus().items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += _family(name, kind, PROCESS_HELP[name], [({}, value)])
    for name, value in host.disk().items():
        lines += _family(name, "gauge", DISK_HELP[name], [({}, value)])
    for one in FAMILIES:
        lines += _family(one.name, one.type, one.help, _samples(one, pipelines))
    help = "Requests to the destination that failed, by why; all but those that are split are tried again."
    lines += _family(FAILED_REQUESTS, "counter", help, _failed_requests(pipelines))
    for name, help, of in HISTOGRAMS:
        lines += _histogram(name, help, [(_labels(one), of(one)) for one in pipelines])
    for name, help in PLUGIN_FAMILIES:
        lines += _family(name, "counter", help, _plugin_samples(name, pipelines))
    for family, samples in watchdog.samples(_positions(pipelines)):
        lines += _family(family.name, family.type, family.help, samples)
    return "\n".join(lines) + "\n"


def _positions(pipelines: Iterable[PipelineMetrics]) -> Iterator[watchdog.Position]:
    """Those of databases; whoever stands by does not know how far the other writer is."""
    for source in (one for pipeline in pipelines for one in pipeline.inputs):
        if source.source is not None and not source.superseded:
            yield watchdog.Position(
                source.source, source.sequence, source.backlog().pending, source.seconds_since_stored()
            )


def _samples(family: Family, pipelines: Iterable[PipelineMetrics]) -> Iterator[tuple[dict[str, str], float]]:
    for pipeline in pipelines:
        value = family.value(pipeline)
        if value is not None:
            yield _labels(pipeline), value


def _plugin_samples(
    name: str, pipelines: Iterable[PipelineMetrics]
) -> Iterator[tuple[dict[str, str], float]]:
    for pipeline in pipelines:
        for plugin in (*pipeline.inputs, *pipeline.filters, *pipeline.outputs):
            labels = {"pipeline": pipeline.id, "kind": plugin.kind, "name": plugin.name, "plugin": plugin.id}
            values = {
                "cht_sync_plugin_events_in_total": plugin.events_in,
                "cht_sync_plugin_events_out_total": plugin.events_out,
                "cht_sync_plugin_seconds_total": plugin.duration / SECOND,
            }
            if plugin.shown and (plugin.kind != "input" or name == "cht_sync_plugin_events_out_total"):
                yield labels, values[name]


def _failed_requests(pipelines: Iterable[PipelineMetrics]) -> Iterator[tuple[dict[str, str], float]]:
    for pipeline in pipelines:
        for reason in get_args(Reason):
            failed = sum(output.failures[reason] for output in pipeline.outputs)
            yield {**_labels(pipeline), "reason": reason}, failed


def _histogram(
    name: str, help: str, found: Iterable[tuple[dict[str, str], Sequence[Histogram]]]
) -> list[str]:
    lines = [f"# HELP {name} {help}", f"# TYPE {name} histogram"]
    for labels, parts in found:
        if not parts:
            continue
        total = 0
        for place, bound in enumerate((*parts[0].bounds, math.inf)):
            total += sum(part.counts[place] for part in parts)
            shown = "+Inf" if bound == math.inf else f"{bound:g}"
            lines.append(_sample(f"{name}_bucket", {**labels, "le": shown}, total))
        lines.append(_sample(f"{name}_sum", labels, sum(part.sum for part in parts)))
        lines.append(_sample(f"{name}_count", labels, total))
    return lines


def _labels(pipeline: PipelineMetrics) -> dict[str, str]:
    sources = [one.source for one in pipeline.inputs if one.source is not None]
    return {"pipeline": pipeline.id, "source": " ".join(sources)}


def _family(name: str, type: str, help: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    lines = [f"# HELP {name} {help}", f"# TYPE {name} {type}"]
    for labels, value in samples:
        lines.append(_sample(name, labels, value))
    return lines


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    text = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
    return f"{name}{{{text}}} {_number(value)}" if text else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
