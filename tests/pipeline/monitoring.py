"""A monitoring API over metrics, and what it says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from cht_sync.pipeline.monitor.metrics import PipelineMetrics, Registry
from cht_sync.pipeline.monitor.server import serve_monitor

PATIENCE = 20.0


@dataclass(frozen=True)
class Api:
    """Asks an API that listens."""

    port: int
    registry: Registry

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE)

    def json(self, path: str) -> Any:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "application/json"
        return answer.json()

    def put(self, path: str, body: str) -> requests.Response:
        return requests.put(f"http://127.0.0.1:{self.port}{path}", data=body, timeout=PATIENCE)

    def samples(self) -> dict[str, float]:
        """The figures of `/metrics` that belong to the only pipeline, by name."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        assert not any(math.isnan(sample.value) for sample in samples)
        return {one.name: one.value for one in samples if {"pipeline", "source"} == set(one.labels)}


@contextmanager
def api(*pipelines: PipelineMetrics) -> Iterator[Api]:
    registry = Registry()
    for one in pipelines:
        registry.add(one)
    with serve_monitor(registry, ports=(0,)) as monitor:
        yield Api(monitor.port, registry)
