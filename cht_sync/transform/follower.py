"""The loop's turns: what is due now, and what becomes of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime

import psycopg2
from psycopg2.extensions import connection as Connection

from cht_sync.errors import ChtSyncError, sentences
from cht_sync.health import Health
from cht_sync.logs import fields
from cht_sync.transform.batches import Batches
from cht_sync.transform.changes import Newest, newest_change, sole_runner
from cht_sync.transform.freshness import Freshness, measure
from cht_sync.transform.history import History
from cht_sync.transform.metrics import Metrics
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.others import OtherRuns
from cht_sync.transform.pace import Pace
from cht_sync.transform.package import PackageStore
from cht_sync.transform.recorder import Recorder, first_line
from cht_sync.transform.results import RunOutcome
from cht_sync.transform.retries import RETRIED, Retries, dbt_failed
from cht_sync.transform.runner import DbtRunner
from cht_sync.transform.summary import covered_until, last_tests
from cht_sync.transform.sync_views import make_views
from cht_sync.transform.testing import AGAIN_AFTER, PassOfTests

LOOK_EVERY = 1.0
"""Seconds between two looks for changes, at most; less where `interval` is less."""

NOTHING = datetime.min
"""What has been covered where there was no document; None is: nobody knows."""

log = logging.getLogger(__name__)


class Follower:
    """What survives the loss of a connection: the warm dbt, what was seen, what fails, how far models are.

    Raises ChtSyncError where there is no package to run, or no dbt.
    """

    def __init__(
        self, options: TransformOptions, stop: threading.Event, metrics: Metrics, health: Health
    ) -> None:
        self._options = options
        self._stop = stop
        self._metrics = metrics
        self._health = health
        self._store = PackageStore(options)
        self._package = self._store.current()
        self._runner = DbtRunner(options, self._package)
        self._recorder = Recorder(History(options.schema, options.results_days), metrics)
        self._pace = Pace(options.interval)
        self._batches = Batches(options.schema, options.batch_size)
        self._retries = Retries(options.interval)
        self._others = OtherRuns(options.schema)
        self._selects_nothing = False
        self._tests = PassOfTests(options.test_interval)
        self._full_refresh = options.full_refresh
        self._dbt_works = False
        self._covered: datetime | None = None
        self._remembers = False
        self._views_are_made = False
        self._refused = ""
        metrics.package(self._package, note=self._store.note)

    def follow(self, connection: Connection, went_well: Callable[[], None]) -> None:
        """Go round until `stop` is set, and say so after each turn.

        Raises psycopg2.Error when the connection is lost, or PostgreSQL refuses what every run needs.
        """
        self._recorder.catch_up(connection)
        self._remember(connection)
        while not self._stop.is_set():
            self._turn(connection)
            went_well()
            self._stop.wait(min(LOOK_EVERY, self._options.interval))

    def _turn(self, connection: Connection) -> None:
        self._health.turn()
        newest = newest_change(connection, self._options.raw_schema)
        self._metrics.postgres(up=True)
        self._metrics.covered(self._covered, newest=newest)
        with self._health.at_work():
            self._renew_package()
            self._look_at_others(connection)
            if self._is_due(newest):
                with sole_runner(connection, self._options.schema) as ours:
                    if ours:
                        self._work(connection, newest)

    def _look_at_others(self, connection: Connection) -> None:
        if not self._retries.failing:
            return
        try:
            if self._others.any(connection):
                built = self._others.built(connection, self._retries.failing)
                self._retries.built_elsewhere(built, time.monotonic())
                self._others.seen(connection)
        except psycopg2.Error:
            # Without tables of results, of which the recorder tells, each model has its next try.
            if connection.closed:
                raise

    def _is_due(self, newest: Newest) -> bool:
        now = time.monotonic()
        return (
            self._pace.due(newest, now)
            or self._retries.any_due(now)
            or self._tests.running
            or self._tests_are_due(now)
        )

    def _work(self, connection: Connection, newest: Newest) -> None:
        """Models first, then what failed, then a portion of the tests: none makes another one starve."""
        if self._pace.due(newest, time.monotonic()):
            self._run(connection, newest)
        for full_refresh in (False, True):
            if selectors := self._retries.due(time.monotonic(), full_refresh=full_refresh):
                self._retry(connection, selectors, full_refresh=full_refresh)
        self._test(connection)

    def _run(self, connection: Connection, newest: Newest) -> None:
        started = time.monotonic()
        outcome = self._runner.run(full_refresh=self._full_refresh, exclude=self._retries.all())
        outcome = self._noted(outcome, full_refresh=self._full_refresh)
        self._dbt_works = not dbt_failed(outcome)
        more = self._batches.more(connection, outcome)
        self._pace.ran(newest, started=started, ended=time.monotonic(), succeeded=self._dbt_works, again=more)
        freshness = None
        if self._dbt_works:
            self._full_refresh = False
            self._health.well("dbt")
            if outcome.models and not more:
                freshness = self._measured(connection, newest)
        else:
            failed = next(node for node in outcome.failures if node.kind not in RETRIED)
            self._health.trouble("dbt", f"dbt fails: {failed.message}")
        if outcome.nodes:
            self._record(connection, outcome, freshness)
        self._tell_of_nothing(outcome)

    def _tell_of_nothing(self, outcome: RunOutcome) -> None:
        """Once, where the selection leaves no model; what waits for its next try is no part of that."""
        nothing = not outcome.selected and not self._retries.failing
        if nothing and not self._selects_nothing:
            log.warning("no model is selected: %s", self._options.selection or "the package has none")
        self._selects_nothing = nothing

    def _retry(self, connection: Connection, selectors: Collection[str], *, full_refresh: bool) -> None:
        outcome = self._runner.run(
            full_refresh=full_refresh, select=selectors, exclude=self._retries.others(selectors)
        )
        outcome = self._noted(outcome, tried=selectors, full_refresh=full_refresh)
        self._record(connection, outcome)

    def _noted(self, outcome: RunOutcome, *, full_refresh: bool, tried: Collection[str] = ()) -> RunOutcome:
        outcome = outcome.without_values()
        self._retries.note(
            outcome, now=time.monotonic(), at=datetime.now(UTC), tried=tried, full_refresh=full_refresh
        )
        return outcome

    def _measured(self, connection: Connection, newest: Newest) -> Freshness | None:
        before, self._covered = self._covered, newest or NOTHING
        self._metrics.covered(self._covered, newest=newest)
        if before is None or newest is None or newest <= before:
            return None
        try:
            return measure(connection, self._options.raw_schema, after=before, until=newest)
        except psycopg2.Error as error:
            log.warning("how fresh the models are cannot be measured: %s", first_line(error))
            return None

    def _record(
        self, connection: Connection, outcome: RunOutcome, freshness: Freshness | None = None
    ) -> None:
        self._recorder.record(
            connection,
            outcome,
            failing=self._retries.failing,
            not_tried=self._retries.not_tried,
            freshness=freshness,
            until=self._covered,
            package_note=self._store.note,
        )
        self._make_views(connection)

    def _make_views(self, connection: Connection) -> None:
        """Once, when the tables of results are there; models go on without the views of the dashboards."""
        if self._views_are_made:
            return
        try:
            make_views(connection, self._options.schema, self._options.raw_schema)
        except psycopg2.Error as error:
            if connection.closed:
                raise
            log.error("the views of the dashboards cannot be made: %s", first_line(error))
        self._views_are_made = True

    def _tests_are_due(self, now: float) -> bool:
        return self._dbt_works and self._tests.due(now)

    def _test(self, connection: Connection) -> None:
        now = time.monotonic()
        if self._tests_are_due(now):
            self._tests.begin(self._runner.tests(), now)
        if self._tests.running:
            portion = self._runner.test(select=self._tests.portion(), exclude=self._retries.all())
            portion = portion.without_values()
            if _was_cut_off(portion, connection) and self._tests.cut_off(time.monotonic()):
                said = " ".join(portion.failures[0].message.split())
                log.warning(
                    "the tests were cut off and begin again in %.0f s: %s",
                    AGAIN_AFTER,
                    said,
                    extra=fields(event="dbt_failed", error=said, pause_seconds=AGAIN_AFTER),
                )
            elif whole := self._tests.ran(portion):
                self._record(connection, whole)

    def _renew_package(self) -> None:
        try:
            package = self._store.update(time.monotonic())
        except ChtSyncError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                extra = fields(event="package_failed", error=sentences(error))
                log.warning("the package is not renewed: %s", error, extra=extra)
            return
        if package is not None:
            self._refused = ""
            self._package = package
            self._runner = DbtRunner(self._options, package)
            self._pace.reset()
            self._retries.reset()
            self._tests.restart(time.monotonic())
        self._metrics.package(self._package, note=self._store.note)

    def _remember(self, connection: Connection) -> None:
        """What an earlier process recorded: how far the models were, and when the tests ran."""
        if self._remembers:
            return
        self._covered = covered_until(connection, self._options.schema)
        tested_at = last_tests(connection, self._options.schema, self._package.version)
        if tested_at is not None:
            ago = (datetime.now(UTC) - tested_at).total_seconds()
            self._tests.wait(self._options.test_interval - ago, time.monotonic())
        self._remembers = True


def _was_cut_off(tests: RunOutcome, connection: Connection) -> bool:
    """Whether dbt could not work, or PostgreSQL went away under it: that says nothing of a test."""
    if any(node.kind == "dbt" for node in tests.failures):
        return True
    return any(node.status == "error" for node in tests.failures) and not _lives(connection)


def _lives(connection: Connection) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    except psycopg2.Error:
        return False
    return True
