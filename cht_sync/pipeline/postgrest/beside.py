"""Letters and notes: what is stored beside the rows of a source, and said in the log.

A dead letter is what cannot be a row. A note is what was received where a row has U+FFFD. Each has a
fingerprint: the same one again changes nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from cht_sync.errors import DeliveryError
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

log = logging.getLogger(__name__)

NAMED_AT_ONCE = 10
"""Documents that the log names when many are refused, or stored with replacements, at once."""

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

    def reject(self, source: str, rejected: Sequence[Rejected], stop: threading.Event) -> None:
        """Store dead letters; one that is there already stays as it is. Raises GivenUp."""
        if not rejected:
            return
        # Without the reason, which may quote the document.
        _say_each(
            source,
            [
                f"document {_named(letter.document_id)} cannot be stored ({letter.code}) and is now a dead "
                "letter; see: cht-sync dead-letters list"
                for letter in rejected
            ],
            logging.ERROR,
        )
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
        _say_each(
            source,
            [
                f"document {_named(row.document_id)} is stored with {row.replaced} times U+FFFD for what "
                f"PostgreSQL cannot hold; {REPLACED_VALUES} has the original"
                for row in replaced
            ],
            logging.WARNING,
        )
        notes = [
            replaced_value(source, row.document_id, row.revision, row.sequence, row.replaced, row.original)
            for row in replaced
        ]
        self._store(source, REPLACED_VALUES, notes, _without_original, stop)
        self._metrics.replaced(len(notes))

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


def _say_each(source: str, texts: Sequence[str], level: int) -> None:
    for text in texts[:NAMED_AT_ONCE]:
        log.log(level, "%s: %s", source, text)
    if len(texts) > NAMED_AT_ONCE:
        log.log(level, "%s: and so for %d more documents", source, len(texts) - NAMED_AT_ONCE)


def _named(document_id: str | None) -> str:
    if document_id is None:
        return "(unreadable)"
    return repr(document_id) if len(document_id) <= 200 else f"{document_id[:200]!r}..."


def _without_document(letter: Entry, refusal: DeliveryError) -> Entry:
    # What is too large for a row is too large for a letter too; CouchDB still has it.
    reason = f"{letter['reason']} (kept without the document: {refusal})"
    return {**letter, "reason": reason, "document": None}


def _without_original(note: Entry, refusal: DeliveryError) -> Entry:
    return {**note, "original": f"(too large to be kept here, CouchDB has it: {refusal})"}
