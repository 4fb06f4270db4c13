"""Running the models: once, or whenever data changed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import psycopg2
from psycopg2.extensions import connection as Connection

from cht_sync.backoff import delays
from cht_sync.errors import ChtSyncError
from cht_sync.transform import results
from cht_sync.transform.changes import Newest, connected, newest_change, sole_runner
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.pace import Pace
from cht_sync.transform.results import RunOutcome
from cht_sync.transform.runner import DbtRunner

LOOK_EVERY = 1.0
"""Seconds between two looks for changes, at most; less where `interval` is less."""

log = logging.getLogger(__name__)


def run_once(options: TransformOptions) -> RunOutcome:
    """Run the models now, after any run that is under way, and record the outcome.

    A model that fails is in the outcome. Raises ChtSyncError where PostgreSQL cannot be reached or
    dbt is not installed.
    """
    runner = DbtRunner(options)
    try:
        with connected(options) as connection:
            while True:
                with sole_runner(connection, options.schema) as ours:
                    if ours:
                        outcome = runner.run(full_refresh=options.full_refresh)
                        _say(outcome)
                        results.record(connection, options.schema, outcome)
                        return outcome
                time.sleep(LOOK_EVERY)  # unlike a wait in the server, this can be interrupted
    except psycopg2.Error as error:
        raise ChtSyncError(
            f"dbt: {_first_line(error)}", hint="Is PostgreSQL running? See: cht-sync status"
        ) from error


def loop(options: TransformOptions, stop: threading.Event) -> None:
    """Run the models whenever data changed, at most every `interval` seconds, until `stop` is set.

    Neither a failing model nor a PostgreSQL that is away ends it. With `full_refresh`, everything is
    built anew until that has succeeded once. Raises ChtSyncError where dbt is not installed.
    """
    follower = _Follower(options, stop)
    while not stop.is_set():
        try:
            with connected(options) as connection:
                follower.follow(connection)
        except psycopg2.Error as error:
            follower.lost(_first_line(error))


class _Follower:
    """What survives the loss of a connection: the warm dbt, what was seen, how long we wait already."""

    def __init__(self, options: TransformOptions, stop: threading.Event) -> None:
        self._options = options
        self._stop = stop
        self._runner = DbtRunner(options)
        self._pace = Pace(options.interval)
        self._full_refresh = options.full_refresh
        self._trouble = ""
        self._waits = _new_waits()

    def follow(self, connection: Connection) -> None:
        """Run until `stop` is set. Raises psycopg2.Error when the connection is lost."""
        while not self._stop.is_set():
            newest = newest_change(connection, self._options.raw_schema)
            self._found()
            if self._pace.due(newest, time.monotonic()):
                with sole_runner(connection, self._options.schema) as ours:
                    if ours:
                        self._run(connection, newest)
            self._stop.wait(min(LOOK_EVERY, self._options.interval))

    def lost(self, reason: str) -> None:
        """Wait before the next try, longer each time; say a reason once."""
        if reason != self._trouble:
            self._trouble = reason
            log.warning("PostgreSQL is away, trying again: %s", reason)
        self._stop.wait(next(self._waits))

    def _found(self) -> None:
        if self._trouble:
            log.info("PostgreSQL is back")
            self._trouble = ""
            self._waits = _new_waits()

    def _run(self, connection: Connection, newest: Newest) -> None:
        started = time.monotonic()
        outcome = self._runner.run(full_refresh=self._full_refresh)
        self._pace.ran(newest, started=started, ended=time.monotonic(), succeeded=outcome.succeeded)
        if outcome.succeeded:
            self._full_refresh = False
        _say(outcome)
        results.record(connection, self._options.schema, outcome)


def _new_waits() -> Iterator[float]:
    return delays(first=0.5, most=30)


def _say(outcome: RunOutcome) -> None:
    if outcome.succeeded:
        log.info("%d models in %.1f s", outcome.models, outcome.seconds)
        return
    for failure in outcome.failures:
        log.error("%s failed: %s", failure.name, " ".join(failure.message.split()))
    log.error(
        "%d models in %.1f s, %d failed, %d not tried",
        outcome.models,
        outcome.seconds,
        len(outcome.failures),
        len(outcome.skipped),
    )


def _first_line(error: psycopg2.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
