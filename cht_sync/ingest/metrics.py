"""What the ingest server counts, for Prometheus.

What PostgREST counts too has its name there (PostgREST's documentation, "Metrics").
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cht_sync import __version__
from cht_sync.ingest.pool import Pool
from cht_sync.ingest.schema_cache import SchemaCache

METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self, pool: Pool, cache: SchemaCache) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_Kept(pool, cache))
        self._requests = Counter(
            "cht_sync_ingest_requests",
            "Requests by their method and the status of the answer.",
            ("method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "cht_sync_ingest_request_duration_seconds",
            "From the whole request to the whole answer.",
            ("method",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._bytes = Counter(
            "cht_sync_ingest_received_bytes", "Bytes of the bodies of requests.", registry=self._registry
        )

    def answered(self, method: str, status: int, seconds: float, size: int) -> None:
        """A request with a body of `size` bytes was answered."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, status).inc()
        self._seconds.labels(method).observe(seconds)
        self._bytes.inc(size)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)


class _Kept(Collector):
    """What pool and cache know by themselves."""

    def __init__(self, pool: Pool, cache: SchemaCache) -> None:
        self._pool = pool
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        pool, cache = self._pool, self._cache
        info = GaugeMetricFamily("cht_sync_ingest_info", "Version of cht-sync.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield GaugeMetricFamily(
            "cht_sync_ingest_ready", "1 while PostgreSQL answers and its schema is known.", cache.is_loaded
        )
        loads = CounterMetricFamily(
            "pgrst_schema_cache_loads", "How often the schema was looked at.", labels=["status"]
        )
        loads.add_metric(["SUCCESS"], cache.loads)
        loads.add_metric(["FAIL"], cache.failed_loads)
        yield loads
        yield GaugeMetricFamily("pgrst_db_pool_max", "Most connections to PostgreSQL.", pool.size)
        yield GaugeMetricFamily(
            "pgrst_db_pool_available", "Connections to PostgreSQL that no request has.", pool.available
        )
        yield GaugeMetricFamily("pgrst_db_pool_waiting", "Requests that wait for a connection.", pool.waiting)
        yield CounterMetricFamily(
            "pgrst_db_pool_timeouts", "Requests that waited for a connection in vain.", pool.timeouts
        )
