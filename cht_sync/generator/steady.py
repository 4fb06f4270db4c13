"""Steady mode: a district at work, so many changes per second, until it is stopped.

New documents continue the sequence where the last run ended: households with their persons and
reports, one after another. Between them documents are edited and deleted in the given shares. What
a run does depends on the seed and on what is in the database, not on the clock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from cht_sync.backoff import delays
from cht_sync.errors import SettingsError, SourceUnavailable, sentences
from cht_sync.generator.contents import Content, content_of
from cht_sync.generator.couchdb import Client
from cht_sync.generator.edits import edited
from cht_sync.generator.origin import Document, Origin
from cht_sync.generator.plan import GeneratorOptions, Kind, tombstone
from cht_sync.generator.run import Summary
from cht_sync.logs import fields

log = logging.getLogger(__name__)

STATE = "cht-sync-generator"
"""The local document (not replicated, not in the feed) that says how far the sequence is."""
SHORTEST_TICK = 0.1
"""Seconds; above ten changes per second several go into one request."""
SAVE_EVERY = 5.0
"""Seconds between two writes of the state."""


@dataclass(frozen=True)
class Reached:
    """`created`: the index of the next new document; `steps`: the number of changes chosen so far."""

    created: int
    steps: int = 0


@dataclass(frozen=True)
class Edit:
    """A change of a document that should exist; `step` is the number of the choice."""

    kind: Kind
    document_id: str
    step: int


def steady(
    client: Client,
    database: str,
    options: GeneratorOptions,
    stop: threading.Event,
    progress: Callable[[int], None] = lambda _changes: None,
) -> Summary:
    """Write `options.rate` changes per second until `stop` is set; return what was written.

    That is the rate of the CHT's database; the others get as much less as they hold less.

    While the server is away this waits and tries again, and does not make up for the time lost.
    Raises SettingsError without a rate, LoginRefused, and ChtSyncError for a missing database.
    """
    if options.rate is None:
        raise SettingsError(["rate: must be given in steady mode, for example 5"])
    run = _Run(client, database, options, progress)
    while not stop.is_set():
        try:
            run.follow(options.rate * content_of(database).share, stop)
        except SourceUnavailable as error:
            delay = next(run.retries)
            run.outage += 1
            log.warning(
                "%s; trying again in %.1f s",
                error,
                delay,
                extra=fields(
                    event="source_unavailable",
                    database=database,
                    error=sentences(error),
                    attempts=run.outage,
                    pause_seconds=delay,
                ),
            )
            stop.wait(delay)
    return run.summary


def restore(client: Client, database: str, origin: Origin) -> Reached:
    """Return where the sequence goes on: the saved state, moved past documents that exist since."""
    saved = client.local(database, STATE)
    known = Reached(0)
    if saved is not None and saved.get("seed") == origin.seed:
        known = Reached(int(saved["created"]), int(saved["steps"]))
    return replace(known, created=_first_free(client, database, origin, known.created))


def _first_free(client: Client, database: str, origin: Origin, least: int) -> int:
    """Return the first index from `least` on that was never written: documents come without gaps."""
    content = content_of(database)

    def exists(index: int) -> bool:
        return bool(client.states(database, [content.identify(origin, index)]))

    if not exists(least):
        return least
    taken, step = least, 1
    while exists(taken + step):
        taken, step = taken + step, step * 2
    free = taken + step
    while free - taken > 1:
        middle = (taken + free) // 2
        taken, free = (middle, free) if exists(middle) else (taken, middle)
    return free


class _Run:
    """The state of one call of `steady`; it outlives the server's absences."""

    def __init__(
        self, client: Client, database: str, options: GeneratorOptions, progress: Callable[[int], None]
    ) -> None:
        self._client = client
        self._database = database
        self._content: Content = content_of(database)
        self._options = options
        self._origin = options.origin
        self._report = progress
        self.summary = Summary()
        self.retries = delays()
        self.outage = 0
        """How often it was tried in vain since the server answered."""

    def follow(self, rate: float, stop: threading.Event) -> None:
        """Write at the rate until `stop` is set; raises SourceUnavailable when the server goes."""
        reached = restore(self._client, self._database, self._origin)
        if self.outage:
            extra = fields(event="source_recovered", database=self._database, attempts=self.outage)
            log.info("%s: CouchDB answers again", self._database, extra=extra)
        self.retries, self.outage = delays(), 0
        started = saved = time.monotonic()
        done = 0
        while not stop.wait(max(SHORTEST_TICK, 1 / rate)):
            now = time.monotonic()
            due = min(int((now - started) * rate) - done, self._options.batch_size)
            reached = self._write(reached, due)
            done += due
            if now - saved >= SAVE_EVERY:
                self._save(reached)
                saved = now
        self._save(reached)

    def _write(self, reached: Reached, due: int) -> Reached:
        """Choose `due` changes and write them in one request; return what is reached then."""
        chosen = (self._choose(step, reached.created) for step in range(reached.steps, reached.steps + due))
        # One request may hold only one change of a document.
        edits = {edit.document_id: edit for edit in chosen if edit is not None}
        current = self._client.documents(self._database, list(edits))
        kinds = {document_id: edits[document_id].kind for document_id in current}
        documents = [self._after(edits[document_id], before) for document_id, before in current.items()]
        # What could not be edited or deleted becomes a new document, so that the rate holds.
        created = reached.created + due - len(documents)
        for index in range(reached.created, created):
            documents.append(self._content.make(self._origin, index))
            kinds[self._content.identify(self._origin, index)] = Kind.CREATE
        written = self._client.write(self._database, documents)
        for document_id, kind in kinds.items():
            success = document_id in written
            self.summary += Summary.of(kind, int(success), int(not success))
        self._report(due)
        return Reached(created, reached.steps + due)

    def _choose(self, step: int, created: int) -> Edit | None:
        """Choose an edit or a deletion of one of the documents so far; None for a new document."""
        source = self._origin.random("step", step)
        roll = source.random()
        index = source.randrange(max(1, created))
        if roll < self._options.updates:
            return Edit(Kind.UPDATE, self._content.identify(self._origin, index), step)
        if roll < self._options.updates + self._options.deletes and self._content.deletable(index):
            return Edit(Kind.DELETE, self._content.identify(self._origin, index), step)
        return None

    def _after(self, edit: Edit, before: Document) -> Document:
        if edit.kind is Kind.DELETE:
            return tombstone(edit.document_id) | {"_rev": before["_rev"]}
        return edited(before, self._origin.random("later edit", edit.step))

    def _save(self, reached: Reached) -> None:
        content = {"seed": self._origin.seed, "created": reached.created, "steps": reached.steps}
        self._client.write_local(self._database, STATE, content)
