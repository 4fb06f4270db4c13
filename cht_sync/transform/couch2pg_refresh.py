"""Refreshing the views for couch2pg's users beside the models, as couch2pg did after each of its runs.

A thread with a connection of its own, as dbt's role: neither waits for the other. Where the schema is not
there it looks for it once an interval, and does nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import connection as Connection

from cht_sync.logs import fields
from cht_sync.transform.changes import Newest, connected, newest_change
from cht_sync.transform.couch2pg import REFRESH, SCHEMA, may_refresh
from cht_sync.transform.messages import without_values
from cht_sync.transform.metrics import Metrics
from cht_sync.transform.options import TransformOptions

LOOK_EVERY = 5.0
"""Seconds between two looks for changes, at most; less where the interval is less."""
WITHOUT_LIMITS = """
    select set_config(name, '0', false) from pg_settings
    where name in ('statement_timeout', 'transaction_timeout')
"""
"""A view takes as long as it takes; a server may have a limit for everybody, or for dbt's role."""
SEVERITY = ":  "
"""Ends the word for how bad it is, which the server says in its own language."""

log = logging.getLogger(__name__)


@contextmanager
def refreshing(options: TransformOptions, metrics: Metrics) -> Iterator[None]:
    """Refresh within the block whenever documents have changed, at most every `couch2pg_interval` seconds."""
    if not options.couch2pg_interval:
        yield
        return
    refresher = Refresher(options, metrics)
    thread = threading.Thread(target=refresher.run, name="couch2pg refresh", daemon=True)
    thread.start()
    try:
        yield
    finally:
        refresher.end()
        thread.join()


class Refresher:
    """What has been refreshed so far, and when the next refresh may begin."""

    def __init__(self, options: TransformOptions, metrics: Metrics) -> None:
        self._options = options
        self._metrics = metrics
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._at_work: Connection | None = None
        self._knows = False
        self._covered: Newest = None
        self._next = 0.0

    def run(self) -> None:
        """Go round until `end`. A PostgreSQL that is away is the loop's to tell."""
        while not self._stop.is_set():
            try:
                with connected(self._options) as connection:
                    while not self._stop.is_set() and may_refresh(connection, self._options.raw_schema):
                        self._turn(connection)
                        self._stop.wait(min(LOOK_EVERY, self._options.couch2pg_interval))
            except psycopg2.Error as error:
                log.debug("views of %s: %s", SCHEMA, without_values(str(error)))
            self._stop.wait(self._options.couch2pg_interval)

    def end(self) -> None:
        """Let `run` return soon: a refresh that is under way is cancelled."""
        with self._lock:
            self._stop.set()
            if self._at_work is not None:
                self._at_work.cancel()

    def _turn(self, connection: Connection) -> None:
        if time.monotonic() < self._next:
            return
        newest = newest_change(connection, self._options.raw_schema)
        if self._knows and newest == self._covered:
            return
        started = time.monotonic()
        problems = self._refresh(connection)
        seconds = time.monotonic() - started
        self._next = started + self._options.couch2pg_interval
        if self._stop.is_set():
            return
        self._metrics.refreshed(succeeded=not problems, seconds=seconds)
        # Also what failed without a change of documents may succeed: somebody mends the view.
        self._knows, self._covered = not problems, newest
        if problems:
            reason = "; ".join(problems)
            log.warning(
                "views of %s are not refreshed: %s; tried again in %.0f s, mend the view or the document",
                SCHEMA,
                reason,
                self._options.couch2pg_interval,
                extra=fields(event="couch2pg_refresh_failed", error=reason, duration_seconds=seconds),
            )
        else:
            extra = fields(event="couch2pg_refreshed", duration_seconds=seconds)
            log.info("views of %s are refreshed, %.1f s", SCHEMA, seconds, extra=extra)

    def _refresh(self, connection: Connection) -> list[str]:
        """Return what PostgreSQL said of each view that is as old as before.

        Raises psycopg2.Error when the connection is lost.
        """
        del connection.notices[:]
        with self._lock:
            if self._stop.is_set():
                return []
            self._at_work = connection
        try:
            with connection.cursor() as cursor:
                cursor.execute("set client_min_messages = warning")
                cursor.execute(WITHOUT_LIMITS)
                cursor.execute(REFRESH)
        except psycopg2.Error as error:
            if connection.closed:
                raise
            return [*_told(connection), without_values(str(error))]
        finally:
            with self._lock:
                self._at_work = None
        return _told(connection)


def _told(connection: Connection) -> list[str]:
    said = [notice.partition(SEVERITY)[2] for notice in connection.notices]
    return [" ".join(without_values(text).split()) for text in said]
