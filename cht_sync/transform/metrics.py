"""What the loop counts, for Prometheus."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from cht_sync import __version__, watchdog
from cht_sync.files import existing
from cht_sync.transform.freshness import Freshness
from cht_sync.transform.package import Package
from cht_sync.transform.results import RunOutcome
from cht_sync.transform.retries import Failing

PREFIX = "cht_sync_dbt"


class Metrics:
    """The figures of one loop, in a registry of its own."""

    def __init__(self, work_folder: Path = Path()) -> None:
        """`work_folder` is where packages and dbt's files are; of its disk the figures tell."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._work_folder = work_folder
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._gauge("info", "Version of cht-sync", ("version",)).labels(__version__).set(1)
        self._gauge(
            "disk_free_bytes", "Bytes that may still be written to the disk of the models' folder"
        ).set_function(lambda: self._disk().free)
        self._gauge("disk_size_bytes", "Size of that disk").set_function(lambda: self._disk().total)
        self._runs = self._counter("runs", "Runs of dbt by their result", ("result",))
        for result in ("success", "failed"):
            self._runs.labels(result)
        self._seconds = self._gauge("run_seconds", "Duration of the last run")
        self._last_succeeded = self._gauge("last_run_success", "1 if nothing failed in the last run, else 0")
        self._model_seconds = self._gauge("model_seconds", "Duration of a model's last build", ("model",))
        self._rows = self._counter("rows", "Rows that PostgreSQL said a model changed", ("model",))
        self._failing = self._gauge("models_failing", "Models that fail now")
        self._failing_model = self._gauge("model_failing", "1 for each model that fails now", ("model",))
        self._last_run = self._gauge("last_run_timestamp_seconds", "End of the last run")
        self._last_success = self._gauge(
            "last_success_timestamp_seconds", "End of the last run in which nothing failed"
        )
        self._documents = self._counter("documents", "Documents that runs have taken")
        self._freshness = self._gauge(
            "freshness_seconds",
            "From storing a document to the end of the run that took it, over the last run with any",
            ("of",),
        )
        self._pipeline = self._gauge("pipeline_behind_seconds", "How far the pipelines were behind CouchDB")
        self._waiting = self._gauge("waiting_seconds", "For how long changes wait that no run has covered")
        self._waiting.set_function(self._waiting_seconds)
        self._tests = self._gauge("tests", "Tests of the last pass by their result", ("result",))
        self._last_tests = self._gauge("last_tests_timestamp_seconds", "End of the last pass of tests")
        self._package = self._gauge("package_info", "Which package runs", ("origin", "commit", "note"))
        self._postgres = self._gauge("postgres_up", "1 while PostgreSQL can be reached")
        self._latency = self._of_watchdog(watchdog.LATENCY)
        self._latency.set(float("nan"))
        self._execution_time = self._of_watchdog(watchdog.EXECUTION_TIME)
        self._refreshes = self._counter(
            "couch2pg_refreshes", "Refreshes of the views for couch2pg's users by their result", ("result",)
        )
        for result in ("success", "failed"):
            self._refreshes.labels(result)
        self._refresh_seconds = self._gauge("couch2pg_refresh_seconds", "Duration of the last such refresh")
        self._shown_package = ("", "", "")
        self._lock = threading.Lock()
        self._waiting_since: float | None = None

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def postgres(self, *, up: bool) -> None:
        """Whether PostgreSQL can be reached."""
        self._postgres.set(up)

    def covered(self, until: datetime | None, *, newest: datetime | None) -> None:
        """The models have everything up to the stamp `until`; `newest` is that of the newest document.

        None where nobody knows, or there is no document; `datetime.min` where there was none.
        """
        if newest is None or until is None or until == datetime.min:
            self._latency.set(float("nan"))
        else:
            self._latency.set(max(0.0, (newest - until).total_seconds()))
        with self._lock:
            if newest is None or newest == until:
                self._waiting_since = None
            elif self._waiting_since is None:
                self._waiting_since = time.monotonic()

    def package(self, package: Package, *, note: str) -> None:
        """Which package runs, and what an operator must know of it."""
        shown = package.origin, package.commit or "", note
        if shown != self._shown_package:
            self._shown_package = shown
            self._package.clear()
            self._package.labels(*shown).set(1)

    def ran(
        self, outcome: RunOutcome, *, failing: Collection[Failing], freshness: Freshness | None = None
    ) -> None:
        """A run has ended; `failing` is all that fails now."""
        self._runs.labels(outcome.result).inc()
        self._seconds.set(outcome.seconds)
        self._last_run.set(time.time())
        self._last_succeeded.set(outcome.succeeded)
        if outcome.succeeded and not failing:
            self._last_success.set(time.time())
        for node in outcome.nodes:
            if node.kind == "model" and node.status == "success":
                self._model_seconds.labels(node.name).set(node.seconds)
                self._execution_time.labels(node.name).set(node.seconds)
                self._rows.labels(node.name).inc(node.rows or 0)
        self._failing.set(len(failing))
        self._failing_model.clear()
        for one in failing:
            self._failing_model.labels(one.node.name).set(1)
        if freshness is not None:
            self._documents.inc(freshness.documents)
            self._freshness.labels("median").set(freshness.median)
            self._freshness.labels("greatest").set(freshness.greatest)
            self._pipeline.set(float("nan") if freshness.pipeline is None else freshness.pipeline)

    def tested(self, outcome: RunOutcome) -> None:
        """A pass of tests has ended."""
        found = [node.status for node in outcome.nodes]
        self._tests.labels("passed").set(found.count("pass"))
        self._tests.labels("warned").set(found.count("warn"))
        self._tests.labels("failed").set(found.count("fail") + found.count("error"))
        self._last_tests.set(time.time())

    def refreshed(self, *, succeeded: bool, seconds: float) -> None:
        """A refresh of the views for couch2pg's users has ended."""
        self._refreshes.labels("success" if succeeded else "failed").inc()
        self._refresh_seconds.set(seconds)

    def _disk(self) -> Any:
        return shutil.disk_usage(existing(self._work_folder))

    def _waiting_seconds(self) -> float:
        with self._lock:
            return 0.0 if self._waiting_since is None else time.monotonic() - self._waiting_since

    def _counter(self, name: str, text: str, labels: Collection[str] = ()) -> Counter:
        return Counter(f"{PREFIX}_{name}", f"{text}.", labels, registry=self._registry)

    def _of_watchdog(self, family: watchdog.Family) -> Gauge:
        return Gauge(family.name, family.help, family.labels, registry=self._registry)

    def _gauge(self, name: str, text: str, labels: Collection[str] = ()) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", f"{text}.", labels, registry=self._registry)
