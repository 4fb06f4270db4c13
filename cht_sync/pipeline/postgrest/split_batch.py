"""What the log says of a batch that is sent in parts: that it is, and how it went; never of each part."""

from __future__ import annotations

import logging
import time

from cht_sync.errors import DeliveryError
from cht_sync.logs import fields

log = logging.getLogger(__name__)


class SplitBatch:
    """One batch on its way; silent where it is never split."""

    def __init__(self, source: str, documents: int) -> None:
        self._source = source
        self._documents = documents
        self._requests = 0
        self._dead_letters = 0
        self._began: float | None = None

    def sent(self) -> None:
        """A part was sent."""
        self._requests += 1

    def split(self, refusal: DeliveryError) -> None:
        """A part is split, for what `refusal` says."""
        if self._began is None:
            self._began = time.monotonic()
            log.warning(
                "%s: a batch of %d documents is refused (%s) and is sent in parts",
                self._source,
                self._documents,
                refusal.code,
                extra=fields(
                    event="batch_split", source=self._source, documents=self._documents, code=refusal.code
                ),
            )

    def buried(self) -> None:
        """One of its documents is a dead letter."""
        self._dead_letters += 1

    def ended(self) -> None:
        """All parts are stored."""
        if self._began is not None:
            seconds = time.monotonic() - self._began
            log.info(
                "%s: the batch of %d documents is stored after %d requests in %.1f s; dead letters: %d",
                self._source,
                self._documents,
                self._requests,
                seconds,
                self._dead_letters,
                extra=fields(
                    event="batch_split_ended",
                    source=self._source,
                    documents=self._documents,
                    requests=self._requests,
                    dead_letters=self._dead_letters,
                    duration_seconds=seconds,
                ),
            )
