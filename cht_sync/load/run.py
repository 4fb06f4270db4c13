"""A load on this machine: its workers as processes, what is left to do after them, and how far it is.

Any number of machines may do the same load at the same time; each process works until nothing is left.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import SpawnProcess

import psycopg2

from cht_sync import backoff, logs
from cht_sync.errors import ChtSyncError, SettingsError, SourceUnavailable
from cht_sync.load.chunks import Stopped, work
from cht_sync.load.ledger import Ledger, Progress, refuse_another
from cht_sync.load.review import review
from cht_sync.reconcile.couch import Couch
from cht_sync.reconcile.databases import refuse_stranger, sides
from cht_sync.reconcile.row import RowMaker
from cht_sync.reconcile.table import Table
from cht_sync.settings import Settings
from cht_sync.shutdown import stop_on_signals

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5
"""Seconds between two looks at the workers and at how far the load is."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds after a failure that waiting may mend."""
PATIENCE = 20.0
"""Seconds that a worker which was told to end is given."""

Advance = Callable[[Progress], None]


def begin(settings: Settings, database: str, *, chunk_size: int, anew: bool) -> Progress:
    """Agree on the load of a database, or join the one that is there; return how far it is.

    `anew`: read everything once more, also where a load was done. From here on the pipeline goes on from the
    sequence of this moment. Raises ChtSyncError.
    """
    if settings.pipeline_engine != "native":
        raise SettingsError(
            [
                f"PIPELINE_ENGINE={settings.pipeline_engine} keeps its position in a file, so that nobody "
                f"else can load {database} beside it"
            ],
            hint="Set PIPELINE_ENGINE=native, or let the pipeline load it.",
        )
    with sides(settings, database, writing=True) as (couch, table):
        expected = couch.count()
        refuse_stranger(couch, table)
        ledger = Ledger(table)
        found = couch.identity()
        agreed = ledger.agreement()
        if agreed is not None and not anew:
            refuse_another(agreed, found, database)
        else:
            ledger.begin(couch.sequence(), found, expected=expected, chunk_size=chunk_size, anew=anew)
        return _existing(ledger.progress(), database)


def run(
    settings: Settings, database: str, *, workers: int, advance: Advance, stop: threading.Event
) -> Progress:
    """Work at a load that was begun until it has ended, or `stop`; return how far it is then.

    Raises ChtSyncError; what was done stays, and the same again goes on from there.
    """
    seen: list[Progress] = []

    def tell(progress: Progress) -> None:
        seen[:] = [progress]
        advance(progress)

    with _workers(settings, database, workers) as crew:
        _watch(settings, database, crew, tell, stop)
    if not stop.is_set():
        finish(settings, database, advance=tell, stop=stop)
    try:
        return progress_of(settings, database)
    except ChtSyncError:
        if stop.is_set() and seen:
            return seen[0]  # a server is away: that is no reason not to stop
        raise


def finish(settings: Settings, database: str, *, advance: Advance, stop: threading.Event) -> None:
    """Do what is left once there are no chunks to do, until it is done, or `stop`. Raises ChtSyncError."""
    persistently(
        settings, database, stop, lambda couch, table: _finish(settings, couch, table, advance, stop)
    )


def progress_of(settings: Settings, database: str) -> Progress:
    """How far the load is. Raises ChtSyncError, also where there is none."""
    with sides(settings, database, writing=True) as (_couch, table):
        return _existing(Ledger(table).progress(), database)


def _existing(progress: Progress | None, database: str) -> Progress:
    if progress is None:
        raise ChtSyncError(
            f"{database}: its load is no longer there",
            hint="Another one has removed it, or a backup was restored. Begin again: "
            f"cht-sync load {database}.",
        )
    return progress


def _finish(settings: Settings, couch: Couch, table: Table, advance: Advance, stop: threading.Event) -> None:
    ledger = Ledger(table)

    def tell() -> None:
        if (progress := ledger.progress()) is not None:
            advance(progress)

    review(couch, table, RowMaker(settings, table.database), stop, tell)


class _Crew:
    """Worker processes, and what they said at their end."""

    def __init__(self, settings: Settings, database: str, count: int) -> None:
        # Another method would copy this process, with its threads and connections.
        context = multiprocessing.get_context("spawn")
        self._database = database
        self._members: list[tuple[SpawnProcess, Pipe]] = []
        for number in range(1, count + 1):
            reading, writing = context.Pipe(duplex=False)
            process = context.Process(
                target=_be_a_worker,
                args=(settings, database, writing, logs.are_json()),
                name=f"load {database} {number}",
            )
            with _only_ours():
                process.start()
            writing.close()
            self._members.append((process, reading))

    def are_at_work(self) -> bool:
        """Whether any is. Raises ChtSyncError where one has failed, or all were killed."""
        at_work = [process for process, _pipe in self._members if process.is_alive()]
        for process, pipe in list(self._members):
            if process.is_alive():
                continue
            self._members.remove((process, pipe))
            if (error := _said(pipe)) is not None:
                raise error
            if process.exitcode:
                what = f"{process.name} has ended with exit code {process.exitcode}"
                if not at_work:
                    raise ChtSyncError(what, hint=f"Go on: cht-sync load {self._database}.")
                log.warning("%s; the others take over its chunk", what)
        return bool(at_work)

    def end(self) -> None:
        """Tell those that are left to end; a chunk in hand is undone."""
        for process, _pipe in self._members:
            process.terminate()
        until = time.monotonic() + PATIENCE
        for process, pipe in self._members:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
            pipe.close()


@contextmanager
def _only_ours() -> Iterator[None]:
    """What is started within has no part in a terminal's signals, also while it is still beginning.

    Ctrl-C reaches all processes of a terminal; we tell our workers to end.
    """
    # It is started with the first process, and lets SIGINT through again in the one that starts it.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _said(pipe: Pipe) -> ChtSyncError | None:
    """Why a worker that has ended could not go on; None where it said nothing."""
    try:
        said = pipe.recv()
    except EOFError:
        return None
    return said if isinstance(said, ChtSyncError) else None


@contextmanager
def _workers(settings: Settings, database: str, count: int) -> Iterator[_Crew]:
    crew = _Crew(settings, database, count)
    try:
        yield crew
    finally:
        crew.end()


def _watch(settings: Settings, database: str, crew: _Crew, advance: Advance, stop: threading.Event) -> None:
    """Show how far the load is while there are workers."""

    def look(_couch: Couch, table: Table) -> None:
        ledger = Ledger(table)
        while crew.are_at_work() and not stop.wait(LOOK_EVERY):
            if (progress := ledger.progress()) is not None:
                advance(progress)

    persistently(settings, database, stop, look)


def _be_a_worker(settings: Settings, database: str, pipe: Pipe, as_json: bool) -> None:
    """What runs in a process of its own; it says through `pipe` why it ends early."""
    logs.configure(level="warning", style="json" if as_json else "text")
    # Where somebody else tells it to end, too, a second signal would interrupt anything, also its end.
    with stop_on_signals(abandons=False) as stop:
        _end_with_parent(stop)
        maker = RowMaker(settings, database)
        try:
            persistently(settings, database, stop, lambda couch, table: work(couch, table, maker, stop))
        except Stopped:
            return
        except ChtSyncError as error:
            pipe.send(error)


def _end_with_parent(stop: threading.Event) -> None:
    """A worker whose parent was killed is nobody's."""
    parent = multiprocessing.parent_process()
    if parent is not None:

        def wait() -> None:
            parent.join()
            stop.set()

        threading.Thread(target=wait, name="parent", daemon=True).start()


def persistently(
    settings: Settings, database: str, stop: threading.Event, work: Callable[[Couch, Table], None]
) -> None:
    """Do it; where CouchDB or PostgreSQL is away, again and again, with pauses. Raises ChtSyncError."""
    delays = backoff.delays(first=FIRST_PAUSE, most=LONGEST_PAUSE)
    while not stop.is_set():
        try:
            with sides(settings, database, writing=True, stop=stop) as (couch, table):
                work(couch, table)
            return
        except ChtSyncError as error:
            if not _may_pass(error):
                raise
            if stop.is_set():
                return
            seconds = next(delays)
            log.warning("%s; next try in %.2g s", error, seconds)
            stop.wait(seconds)


def _may_pass(error: ChtSyncError) -> bool:
    """Whether waiting can mend it: a server that is away or restarts."""
    if isinstance(error, SourceUnavailable):
        return True
    cause = error.__cause__
    return isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError)
