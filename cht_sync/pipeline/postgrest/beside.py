"""Letters and notes: what is stored beside the rows of a source, and said in the log.

A dead letter is what cannot be a row. A note is what was received where a row has U+FFFD. Each has a
fingerprint: the same one again changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from cht_sync.errors import DeliveryError
from cht_sync.logs import Event, fields
from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.postgrest.connection import PostgrestConnection
from cht_sync.pipeline.postgrest.letters import (
    DEAD_LETTERS,
    REPLACED_VALUES,
    dead_letter,
    fingerprint,
    replaced_value,
)
from cht_sync.pipeline.postgrest.retry import refusal_of, until_done
from cht_sync.pipeline.postgrest.row import Row
from cht_sync.pipeline.postgrest.splitting import blaming, send_in_parts
from cht_sync.pipeline.tally import SAY_AGAIN, Tally

log = logging.getLogger(__name__)

NAMED = 10
"""Documents that the log names in SAY_AGAIN seconds when many are refused, or stored with replacements."""

LONGEST_ID = 200
"""Characters of a document's id that are shown."""

Entry = Mapping[str, Any]


class Beside:
    """Stores letters and notes in their tables, and letters in the file too, where there is one."""

    def __init__(
        self,
        connection: PostgrestConnection,
        base_url: str,
        dead_letters: DeadLetterFile | None,
        metrics: OutputMetrics,
    ) -> None:
        self._connection = connection
        self._base_url = base_url
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._refused = _Named(
            "dead_letter",
            logging.ERROR,
            "cannot be stored ({what}) and is now a dead letter; see: cht-sync dead-letters list",
        )
        self._replaced = _Named(
            "value_replaced",
            logging.WARNING,
            "is stored with {what} times U+FFFD for what PostgreSQL cannot hold; "
            f"{REPLACED_VALUES} has the original",
        )

    def reject(self, source: str, rejected: Sequence[Rejected], stop: threading.Event) -> None:
        """Store dead letters; one that is there already stays as it is. Raises GivenUp."""
        if not rejected:
            return
        # Without the reason, which may quote the document.
        self._refused.say(source, [(letter.document_id, letter.code) for letter in rejected])
        letters = {fingerprint(source, letter): letter for letter in rejected}
        if self._dead_letters is not None:
            try:
                self._dead_letters.append_copies(letters)
            except OSError as error:
                log.error("%s: dead letters are kept in the database only: %s", source, error)
        entries = [dead_letter(source, letter) for letter in letters.values()]
        self._store(source, DEAD_LETTERS, entries, _without_document, stop)
        self._metrics.buried(len(entries))

    def note(self, source: str, rows: Sequence[Row], stop: threading.Event) -> None:
        """Store what was received instead of what is in rows with replacements. Raises GivenUp."""
        replaced = [row for row in rows if row.replaced]
        if not replaced:
            return
        self._replaced.say(source, [(row.document_id, row.replaced) for row in replaced])
        notes = [
            replaced_value(source, row.document_id, row.revision, row.sequence, row.replaced, row.original)
            for row in replaced
        ]
        self._store(source, REPLACED_VALUES, notes, _without_original, stop)
        self._metrics.replaced(len(notes))

    def close(self) -> None:
        """Say of whom nothing was said yet."""
        self._refused.close()
        self._replaced.close()

    def _store(
        self,
        source: str,
        table: str,
        entries: Sequence[Entry],
        shortened: Callable[[Entry, DeliveryError], Entry],
        stop: threading.Event,
    ) -> None:
        """Store entries, of which there is one; what is refused is stored shortened. Raises GivenUp."""
        # With columns PostgREST does not parse the body, in which a document may be large.
        url = f"{self._base_url}/{table}?on_conflict=fingerprint&columns={','.join(entries[0])}"

        def insert(body: bytes) -> None:
            self._connection.insert(url, body, {}, resolution="ignore-duplicates")

        def send(part: Sequence[Entry], _last: bool) -> DeliveryError | None:
            if not part:
                return None
            body = msgspec.json.encode(part)
            blame = blaming(len(part), len(body))
            return refusal_of(partial(insert, body), stop, source, self._metrics, blame)

        def remedy(part: Sequence[Entry], refusal: DeliveryError) -> Sequence[Entry] | None:
            if len(part) > 1:
                return None
            body = msgspec.json.encode([shortened(part[0], refusal)])
            until_done(partial(insert, body), stop, source, self._metrics)
            return []

        send_in_parts(entries, send, remedy)


class _Named:
    """Names documents in the log, NAMED in a row of them at most; of others it says how many there are.

    What comes within SAY_AGAIN seconds after that is said together, when they are over or at the end.
    """

    def __init__(self, event: Event, level: int, text: str) -> None:
        self._event = event
        self._level = level
        self._text = text
        self._left = NAMED
        self._began = 0.0
        self._others = Tally()

    def say(self, source: str, documents: Sequence[tuple[str | None, object]]) -> None:
        """Name documents by their ids, with what is to be said of each: a code, or a count."""
        if time.monotonic() - self._began >= SAY_AGAIN:
            self._left, self._began = NAMED, time.monotonic()
        now, later = documents[: self._left], len(documents) - self._left
        self._left -= len(now)
        for document_id, what in now:
            log.log(
                self._level,
                "%s: document %s %s",
                source,
                _named(document_id),
                self._text.format(what=what),
                extra=fields(
                    event=self._event,
                    source=source,
                    document_id=None if document_id is None else document_id[:LONGEST_ID],
                    code=what if isinstance(what, str) else None,
                    replaced_values=what if isinstance(what, int) else None,
                    documents=1,
                ),
            )
        if later > 0:
            self._others.add(source, later)
        self._say_others(self._others.due())

    def close(self) -> None:
        """Say what was not said yet."""
        self._say_others(self._others.rest())

    def _say_others(self, said: tuple[str, int] | None) -> None:
        if said is not None:
            source, count = said
            log.log(
                self._level,
                "%s: and so for %d more documents",
                source,
                count,
                extra=fields(event=self._event, source=source, documents=count),
            )


def _named(document_id: str | None) -> str:
    if document_id is None:
        return "(unreadable)"
    return repr(document_id) if len(document_id) <= LONGEST_ID else f"{document_id[:LONGEST_ID]!r}..."


def _without_document(letter: Entry, refusal: DeliveryError) -> Entry:
    # What is too large for a row is too large for a letter too; CouchDB still has it.
    reason = f"{letter['reason']} (kept without the document: {refusal})"
    return {**letter, "reason": reason, "document": None}


def _without_original(note: Entry, refusal: DeliveryError) -> Entry:
    return {**note, "original": f"(too large to be kept here, CouchDB has it: {refusal})"}
