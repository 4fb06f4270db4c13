"""A writer's heart beats in PostgreSQL, so that one that stands by sees within seconds that it has stopped.

It beats beside the requests with documents, over a connection of its own and in a table of its own: a batch
may take minutes, and wait in a line. It decides nothing but when a standby tries to take over; who may write
the table's trigger alone decides.
"""

from __future__ import annotations

import logging
import threading
import time

import msgspec

from cht_sync.errors import DeliveryError, DestinationUnavailable, Superseded
from cht_sync.pipeline.postgrest.connection import PostgrestConnection, Timeouts

log = logging.getLogger(__name__)

HEARTBEATS = "cht_sync_heartbeats"
BEAT_EVERY = 2.0
"""Seconds from one beat to the next."""
BEAT_TIMEOUTS = Timeouts(connect=2.0, answer=2.0)
STOPPED_AFTER = 7.0
"""Seconds without a beat after which a heart has stopped: one beat may be lost with both time-outs."""
LONGEST_GAP = 3.0
"""Seconds between two looks after which the time in between does not count: what delayed the look may have
delayed the beats."""
REFUSED_PAUSE = 60.0
"""Seconds until it is tried again where an operator is needed: a layout without hearts, above all."""


class Heart:
    """Beats for one writer at a time, in a thread; `connection` is its own."""

    def __init__(self, connection: PostgrestConnection, base_url: str) -> None:
        self._connection = connection
        self._url = f"{base_url}/{HEARTBEATS}?on_conflict=source&columns=source,epoch,beat"
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def beat(self, source: str, epoch: int) -> None:
        """Begin, for a writer that has just taken its epoch."""
        self.stop()
        self._await_end()
        self._stop = threading.Event()
        # A daemon, so that a second signal does not wait for it.
        self._thread = threading.Thread(
            target=self._beat, args=(source, epoch, self._stop), name=f"heart of {source}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """No beat begins after this; one may be under way."""
        self._stop.set()

    def close(self) -> None:
        """Stop, and let go of the connection."""
        self.stop()
        self._await_end()
        self._connection.close()

    def _await_end(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _beat(self, source: str, epoch: int, stop: threading.Event) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            began, pause = time.monotonic(), BEAT_EVERY
            try:
                body = msgspec.json.encode([{"source": source, "epoch": epoch, "beat": number}])
                self._connection.insert(self._url, body, {})
            except Superseded:
                return  # the writer learns that with its next request
            except DestinationUnavailable as error:
                log.debug("%s: its heart did not beat: %s", source, error)
            except DeliveryError as error:
                log.debug("%s: its heart cannot beat: %s", source, error)
                pause = REFUSED_PAUSE
            stop.wait(max(0.0, pause - (time.monotonic() - began)))


class OtherHeart:
    """What a standby sees of the writer that has taken over."""

    def __init__(self, connection: PostgrestConnection) -> None:
        self._connection = connection
        self._seen: tuple[int, int, int] | None = None
        self._since = self._looked = 0.0

    def has_stopped(self, source: str, epoch: int, batch: int) -> bool:
        """Whether the heart of the writer with this epoch has stopped; a new batch is a beat, too.

        Asked again and again. False where it is not known to have one.
        """
        try:
            rows = self._connection.select(HEARTBEATS, ["epoch", "beat"], source=source)
        except DeliveryError as error:
            log.debug("%s: the writer's heart cannot be seen: %s", source, error)
            rows = []
        now = time.monotonic()
        beats = [row["beat"] for row in rows if row["epoch"] == epoch]
        seen = (epoch, batch, beats[0]) if beats else None
        if seen != self._seen or now - self._looked > LONGEST_GAP:
            self._seen, self._since = seen, now
        self._looked = now
        return seen is not None and now - self._since >= STOPPED_AFTER
