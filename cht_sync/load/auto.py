"""Loads that begin by themselves: where a database is large and its table is nearly empty."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from cht_sync import backoff
from cht_sync.errors import ChtSyncError, sentences
from cht_sync.load.ledger import Ledger, Progress
from cht_sync.load.pace import Pace
from cht_sync.load.run import begin, run
from cht_sync.logs import fields
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
LOOK_EVERY = 30.0
"""Seconds between two looks for a load that somebody has begun."""


def load_what_is_large(settings: Settings, *, workers: int, chunk_size: int, stop: threading.Event) -> None:
    """Work at the loads that are there, and begin those that are due, until none is left, or `stop`.

    What is due is decided once for each database. A failure is told and tried again: whoever started this
    has nobody to tell.
    """
    undecided = [*settings.couchdb_dbs] if settings.pipeline_engine == "native" else []
    delays = backoff.delays(first=FIRST_RETRY, most=RETRY)
    while undecided and not stop.is_set():
        for database in list(undecided):
            try:
                _load_if_due(settings, database, workers, chunk_size, stop)
            except ChtSyncError as error:
                log.error("%s", sentences(error), extra=fields(event="load_failed", error=sentences(error)))
                continue
            undecided.remove(database)
        if undecided:
            stop.wait(next(delays))


def begin_what_is_due(settings: Settings, *, chunk_size: int) -> None:
    """Begin the loads that are due, before a pipeline starts: what it reads first would be read twice.

    Only a quick look: what a server that is away has, is found out by `load_what_is_large`.
    """
    for database in settings.couchdb_dbs if settings.pipeline_engine == "native" else ():
        try:
            with sides(settings, database, writing=True) as (couch, table):
                due = _is_due(settings, couch, table)
            if due:
                begin(settings, database, chunk_size=chunk_size, anew=False)
        except ChtSyncError as error:
            log.debug("%s: not looked at yet: %s", database, error)


def serve(settings: Settings, *, workers: int, chunk_size: int, stop: threading.Event) -> None:
    """As `load_what_is_large`, then wait for loads that somebody begins, and work at those, until `stop`."""
    load_what_is_large(settings, workers=workers, chunk_size=chunk_size, stop=stop)
    while not stop.wait(LOOK_EVERY):
        for database in settings.couchdb_dbs:
            try:
                if _is_open(settings, database, stop):
                    _run(settings, database, workers, stop)
            except ChtSyncError as error:
                log.error("%s", sentences(error), extra=fields(event="load_failed", error=sentences(error)))


def _load_if_due(
    settings: Settings, database: str, workers: int, chunk_size: int, stop: threading.Event
) -> None:
    due = _looked_at(settings, database, stop, lambda couch, table: _is_due(settings, couch, table))
    if due:
        begin(settings, database, chunk_size=chunk_size, anew=False)
    if due or _is_open(settings, database, stop):
        _run(settings, database, workers, stop)


def _is_open(settings: Settings, database: str, stop: threading.Event) -> bool:
    """Whether there is a load that has not ended."""

    def look(_couch: Couch, table: Table) -> bool:
        agreed = Ledger(table).agreement()
        return agreed is not None and not agreed.ended

    return _looked_at(settings, database, stop, look)


def _is_due(settings: Settings, couch: Couch, table: Table) -> bool:
    least = settings.load_from_documents
    if least == 0 or settings.couchdb_seq != "0" or Ledger(table).agreement() is not None:
        return False
    documents = couch.count()
    return documents >= least and not table.has_rows(documents // NEARLY_EMPTY)


def _looked_at(
    settings: Settings, database: str, stop: threading.Event, look: Callable[[Couch, Table], bool]
) -> bool:
    """What a look says; one that fails is not repeated here, so that no database waits for another's."""
    with sides(settings, database, writing=True, stop=stop) as (couch, table):
        return look(couch, table)


def _run(settings: Settings, database: str, workers: int, stop: threading.Event) -> None:
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
