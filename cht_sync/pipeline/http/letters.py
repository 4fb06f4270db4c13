"""Events that are refused for good become dead letters of the file."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cht_sync.logs import fields
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.dead_letters.line import RefusedEvent, whole_event
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.http.refusals import Refused
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.tally import Tally

log = logging.getLogger(__name__)


class Letters:
    """The dead letters of the output that the log calls `name`."""

    def __init__(self, name: str, file: DeadLetterFile, metrics: OutputMetrics) -> None:
        self._name = name
        self._file = file
        self._metrics = metrics
        self._unsaid = Tally()

    def bury(self, events: Sequence[Event], refusal: Refused) -> None:
        """Keep each event. Raises DeadLettersFull, and OSError when the disk refuses."""
        self._file.append([_rejected(event, refusal) for event in events])
        self._metrics.buried(len(events))
        self._unsaid.add(refusal.code, len(events))
        self.say()

    def say(self, *, at_once: bool = False) -> None:
        """Log how many there are since the last time, at most once a minute."""
        said = self._unsaid.rest() if at_once else self._unsaid.due()
        if said is not None:
            # Without the reason, which may quote the event.
            code, letters = said
            log.error(
                "%s: refused for good (%s); dead letters: %d",
                self._name,
                *said,
                extra=fields(event="dead_letter", code=code, dead_letters=letters),
            )


def _rejected(event: Event, refusal: Refused) -> RefusedEvent:
    document_id, sequence = event.metadata.get("_id"), event.metadata.get("seq")
    answer = refusal.answer
    return RefusedEvent(
        None if document_id is None else str(document_id),
        _revision(event),
        None if sequence is None else str(sequence),
        refusal.code,
        refusal.reason,
        whole_event(event),
        None if answer is None else answer.status,
        None if answer is None else answer.said,
    )


def _revision(event: Event) -> str | None:
    for reference in ("[_rev]", "[doc][_rev]", "[@metadata][_rev]"):
        found = event.get(reference)
        if isinstance(found, str):
            return found
    return None
