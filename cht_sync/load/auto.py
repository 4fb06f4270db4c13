"""Loads that begin by themselves: where a database is large and its table is nearly empty."""

from __future__ import annotations

import logging
import threading
import time

from cht_sync import backoff
from cht_sync.errors import ChtSyncError, sentences
from cht_sync.health import Health
from cht_sync.load.ledger import Ledger, Progress
from cht_sync.load.metrics import Metrics
from cht_sync.load.pace import Pace
from cht_sync.load.run import begin, run
from cht_sync.logs import fields
from cht_sync.metrics_server import serving
from cht_sync.reconcile.couch import Couch
from cht_sync.reconcile.databases import sides
from cht_sync.reconcile.table import Table
from cht_sync.settings import Settings

log = logging.getLogger(__name__)

NEARLY_EMPTY = 10
"""A table with less than a row for so many documents; what a pipeline has brought is soon read again."""
FIRST_RETRY, RETRY = 0.5, 60.0
"""Seconds after a failure: of a server that is away, or one that only an operator can mend."""
TELL_EVERY = 30.0
"""Seconds between two lines on how far a load is."""
LOOPBACK = "127.0.0.1"
LOOK_EVERY = 30.0
"""Seconds between two looks for a load that somebody has begun."""


def load_what_is_large(
    settings: Settings,
    *,
    workers: int,
    chunk_size: int,
    stop: threading.Event,
    watched: Watched | None = None,
) -> None:
    """Work at the loads that are there, and begin those that are due, until none is left, or `stop`.

    What is due is decided once for each database. A failure is told and tried again: whoever started this
    has nobody to tell.
    """
    watched = watched or Watched(settings)
    undecided = [*settings.couchdb_dbs] if settings.pipeline_engine == "native" else []
    delays = backoff.delays(first=FIRST_RETRY, most=RETRY)
    while undecided and not stop.is_set():
        for database in list(undecided):
            try:
                _load_if_due(settings, database, workers, chunk_size, stop, watched)
            except ChtSyncError as error:
                watched.failed(database, error)
                continue
            watched.succeeded(database)
            undecided.remove(database)
        if undecided:
            stop.wait(next(delays))


def begin_what_is_due(settings: Settings, *, chunk_size: int) -> None:
    """Begin the loads that are due, before a pipeline starts: what it reads first would be read twice.

    Only a quick look: what a server that is away has, is found out by `load_what_is_large`.
    """
    for database in settings.couchdb_dbs if settings.pipeline_engine == "native" else ():
        try:
            _begin_if_due(settings, database, chunk_size, None)
        except ChtSyncError as error:
            log.debug("%s: not looked at yet: %s", database, error)


def serve(
    settings: Settings,
    *,
    workers: int,
    chunk_size: int,
    stop: threading.Event,
    metrics_host: str = LOOPBACK,
) -> None:
    """As `load_what_is_large`, then wait for loads that somebody begins, and work at those, until `stop`."""
    watched = Watched(settings)
    port, setting = settings.load_metrics_port, "LOAD_METRICS_PORT"
    with serving(metrics_host, port, watched.metrics, watched.health, setting=setting):
        with watched.health.at_work():
            load_what_is_large(settings, workers=workers, chunk_size=chunk_size, stop=stop, watched=watched)
        while not stop.wait(LOOK_EVERY):
            with watched.health.at_work():
                _help(settings, workers, stop, watched)


def _help(settings: Settings, workers: int, stop: threading.Event, watched: Watched) -> None:
    for database in settings.couchdb_dbs:
        try:
            if _is_open(settings, database, stop):
                _run(settings, database, workers, stop, watched.metrics)
        except ChtSyncError as error:
            watched.failed(database, error)
        else:
            watched.succeeded(database)


class Watched:
    """What others can see of a process that loads."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics(settings)
        self.health = Health()

    def failed(self, database: str, error: ChtSyncError) -> None:
        """Say it, and count it; it is tried again."""
        text = sentences(error)
        log.error("%s", text, extra=fields(event="load_failed", error=text))
        self.metrics.failed()
        self.health.trouble(database, text)

    def succeeded(self, database: str) -> None:
        """There is nothing to be done for it any more, or not yet."""
        self.health.well(database)


def _load_if_due(
    settings: Settings,
    database: str,
    workers: int,
    chunk_size: int,
    stop: threading.Event,
    watched: Watched,
) -> None:
    if _begin_if_due(settings, database, chunk_size, stop) or _is_open(settings, database, stop):
        _run(settings, database, workers, stop, watched.metrics)


def _is_open(settings: Settings, database: str, stop: threading.Event) -> bool:
    """Whether there is a load that has not ended."""
    with sides(settings, database, writing=True, stop=stop) as (_couch, table):
        agreed = Ledger(table).agreement()
    return agreed is not None and not agreed.ended


def _begin_if_due(settings: Settings, database: str, chunk_size: int, stop: threading.Event | None) -> bool:
    """Begin the load of a database where that is due; whether it was."""
    with sides(settings, database, writing=True, stop=stop) as (couch, table):
        due = _is_due(settings, couch, table)
    if due:
        begin(settings, database, chunk_size=chunk_size, anew=False)
    return due


def _is_due(settings: Settings, couch: Couch, table: Table) -> bool:
    least = settings.load_from_documents
    if least == 0 or settings.couchdb_seq != "0" or Ledger(table).agreement() or table.is_taken_over():
        return False
    documents = couch.count()
    return documents >= least and not table.has_rows(documents // NEARLY_EMPTY)


def _run(settings: Settings, database: str, workers: int, stop: threading.Event, metrics: Metrics) -> None:
    source = settings.source(database)
    pace: Pace | None = None
    told_at = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal pace, told_at
        now = time.monotonic()
        pace = pace or Pace(progress, now)
        words = pace.words(progress, now)
        if now - told_at >= TELL_EVERY:
            told_at = now
            log.info(
                "%s: %d of about %d documents are loaded, %s",
                database,
                progress.documents,
                progress.expected,
                words,
                extra=fields(event="load_progress", source=source, documents=progress.documents),
            )

    log.info("%s: loading in parallel", database, extra=fields(event="load_started", source=source))
    with metrics.working(source):
        ended = run(settings, database, workers=workers, advance=tell, stop=stop)
    if ended.ended:
        log.info(
            "%s: %d documents loaded, %d added afterwards, in %.0f s",
            database,
            ended.documents,
            ended.added,
            ended.seconds,
            extra=fields(
                event="load_ended",
                source=source,
                documents=ended.documents + ended.added,
                duration_seconds=ended.seconds,
            ),
        )
