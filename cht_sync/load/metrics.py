"""What a serving load process tells Prometheus: how far each load is, and what the process does itself."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import psycopg2
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from cht_sync import __version__
from cht_sync.errors import ChtSyncError
from cht_sync.load.ledger import Progress, progress_of_all
from cht_sync.settings import Settings
from cht_sync.warehouse.connection import owner_endpoint

PREFIX = "cht_sync_load"
PROGRESS = {
    "documents_expected": "Documents that CouchDB had when the load began",
    "documents_loaded": "Documents that are loaded, by all machines together",
    "documents_left": "Documents that are still to be loaded, about; 0 when only the look-through is left",
    "chunks_planned": "Chunks into which the documents are divided so far",
    "chunks_done": "Chunks that are loaded",
    "ended": "1 when the load has ended, else 0",
}


class Metrics:
    """The figures of one process, in a registry of its own."""

    def __init__(self, settings: Settings) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._gauge("info", "Version of cht-sync", ("version",)).labels(__version__).set(1)
        self._working = self._gauge("working", "1 while this process works at the load, else 0", ("source",))
        for database in settings.couchdb_dbs:
            self._working.labels(settings.source(database))
        self._failures = Counter(
            f"{PREFIX}_failures", "Failures that are tried again a while later.", registry=self._registry
        )
        self._registry.register(_Loads(settings))

    def text(self) -> bytes:
        """All figures in Prometheus' text format; PostgreSQL is asked for those of the loads."""
        return generate_latest(self._registry)

    def failed(self) -> None:
        """Something could not be done, and is tried again."""
        self._failures.inc()

    @contextmanager
    def working(self, source: str) -> Iterator[None]:
        """This process works at the load until the block ends."""
        gauge = self._working.labels(source)
        gauge.set(1)
        try:
            yield
        finally:
            gauge.set(0)

    def _gauge(self, name: str, text: str, labels: Collection[str] = ()) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", f"{text}.", labels, registry=self._registry)


class _Loads(Collector):
    """How far the loads are at the moment in which they are asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Whoever reaches the port may ask as often as they like; PostgreSQL gives up one connection for that.
        self._asking = threading.Lock()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Asked when it is registered, which needs no PostgreSQL."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families = {
            name: GaugeMetricFamily(f"{PREFIX}_{name}", f"{text}.", labels=("source",))
            for name, text in PROGRESS.items()
        }
        try:
            with self._asking, owner_endpoint(self._settings).connect() as connection:
                found = progress_of_all(connection, self._settings)
        except (ChtSyncError, psycopg2.Error):
            found = None
        for database, progress in (found or {}).items():
            for name, value in figures_of(progress).items():
                families[name].add_metric((self._settings.source(database),), value)
        yield from families.values()
        up = GaugeMetricFamily(f"{PREFIX}_postgres_up", "1 while PostgreSQL can be reached.")
        up.add_metric((), found is not None)
        yield up


def figures_of(progress: Progress) -> dict[str, float]:
    """The values of PROGRESS."""
    # A document that was deleted meanwhile is never loaded; once every chunk is done, none is left.
    is_read = progress.ended or progress.all_chunks_done
    return {
        "documents_expected": progress.expected,
        "documents_loaded": progress.documents + progress.added,
        "documents_left": 0 if is_read else max(0, progress.expected - progress.documents),
        "chunks_planned": progress.chunks,
        "chunks_done": progress.chunks_done,
        "ended": progress.ended,
    }
