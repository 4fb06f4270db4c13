"""Running the models and their tests: once, or whenever data changed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg2

from cht_sync.backoff import delays
from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.health import Health
from cht_sync.logs import fields
from cht_sync.metrics_server import serving
from cht_sync.transform.changes import connected, sole_runner
from cht_sync.transform.couch2pg_refresh import refreshing
from cht_sync.transform.follower import LOOK_EVERY, Follower
from cht_sync.transform.history import History
from cht_sync.transform.metrics import Metrics
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.others import still_failing
from cht_sync.transform.package import PackageStore
from cht_sync.transform.recorder import Recorder, first_line
from cht_sync.transform.results import RunOutcome
from cht_sync.transform.runner import DbtRunner

LOOPBACK = "127.0.0.1"

log = logging.getLogger(__name__)


def run_once(options: TransformOptions) -> RunOutcome:
    """Run the models now, after any run that is under way, and record the outcome.

    A model that fails is in the outcome. Raises ChtSyncError where PostgreSQL cannot be reached, there
    is no package, or dbt is not installed; SettingsError where the selection leaves no model.
    """
    return _once(options, lambda runner: runner.run(full_refresh=options.full_refresh))


def run_tests_once(options: TransformOptions, *, partial: bool = False) -> RunOutcome:
    """Run the package's tests now, as `run_once` does the models; `partial` as in RunOutcome."""
    return _once(options, lambda runner: replace(runner.test(), partial=partial))


def loop(options: TransformOptions, stop: threading.Event, *, metrics_host: str = LOOPBACK) -> None:
    """Run the models whenever data changed, at most every `interval` seconds, until `stop` is set.

    Neither a failing model nor a PostgreSQL that is away ends it. With `full_refresh`, everything is
    built anew until that has succeeded once. Raises ChtSyncError where there is no package, or dbt is
    not installed.
    """
    metrics, health = Metrics(options.work_folder), Health()
    with (
        serving(metrics_host, options.metrics_port, metrics, health, setting="DBT_METRICS_PORT"),
        refreshing(options, metrics),
    ):
        follower = Follower(options, stop, metrics, health)
        away = _Away(stop, metrics, health)
        while not stop.is_set():
            try:
                with connected(options) as connection:
                    follower.follow(connection, away.over)
            except psycopg2.Error as error:
                away.wait(error)


def _once(options: TransformOptions, work: Callable[[DbtRunner], RunOutcome]) -> RunOutcome:
    package = PackageStore(options).current()
    runner = DbtRunner(options, package)
    recorder = Recorder(History(options.schema, options.results_days), Metrics())
    try:
        with connected(options) as connection:
            while True:
                with sole_runner(connection, options.schema) as ours:
                    if ours:
                        outcome = work(runner).without_values()
                        _refuse_nothing(outcome, options)
                        failing, waiting = still_failing(connection, options.schema, outcome, runner)
                        recorder.record(
                            connection,
                            outcome,
                            failing=failing,
                            not_tried=waiting,
                            package_note=package.note,
                        )
                        return outcome
                time.sleep(LOOK_EVERY)  # unlike a wait in the server, this can be interrupted
    except psycopg2.Error as error:
        raise ChtSyncError(
            f"dbt: {first_line(error)}", hint="Is PostgreSQL running? See: cht-sync status"
        ) from error


def _refuse_nothing(outcome: RunOutcome, options: TransformOptions) -> None:
    what = "test" if outcome.command == "test" else "model"
    by_hand_or_models = outcome.partial or what == "model"
    if options.selection and by_hand_or_models and not outcome.selected:
        raise SettingsError([f"{options.selection}: no {what} is selected"])


class _Away:
    """Waits while PostgreSQL is away, longer each time, and says a reason once."""

    def __init__(self, stop: threading.Event, metrics: Metrics, health: Health) -> None:
        self._stop = stop
        self._metrics = metrics
        self._health = health
        self._reason = ""
        self._began = 0.0
        self._waits = _new_waits()

    def wait(self, error: psycopg2.Error) -> None:
        lost = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
        reason = f"PostgreSQL {'is away' if lost else 'refuses'}: {first_line(error)}"
        self._metrics.postgres(up=not lost)
        self._health.turn()
        self._health.trouble("postgres", reason)
        if not self._reason:
            self._began = time.monotonic()
        if reason != self._reason:
            self._reason = reason
            log.warning("%s; trying again", reason, extra=fields(event="postgres_lost", error=reason))
        self._stop.wait(next(self._waits))

    def over(self) -> None:
        if self._reason:
            lasted = time.monotonic() - self._began
            extra = fields(event="postgres_regained", duration_seconds=lasted)
            log.info("PostgreSQL is back after %.1f s", lasted, extra=extra)
            self._reason = ""
            self._health.well("postgres")
            self._waits = _new_waits()


def _new_waits() -> Iterator[float]:
    return delays(first=0.5, most=30)
