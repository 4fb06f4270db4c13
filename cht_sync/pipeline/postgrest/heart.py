"""A writer's heart beats in PostgreSQL, so that one that stands by sees within seconds that it has stopped.

It beats beside the requests with documents, over a connection of its own and in a table of its own: a batch
may take minutes, and wait in a line. It decides nothing but when a standby tries to take over; who may write
the table's trigger alone decides.

Where nobody stands by it rests, and says so once. Who is taken over learns that within a minute; so it beats
for some minutes after each claim, and for as long as somebody looks.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from typing import Any

import msgspec

from cht_sync.errors import DeliveryError, DestinationUnavailable, Superseded
from cht_sync.pipeline.postgrest.connection import PostgrestConnection, Timeouts

log = logging.getLogger(__name__)

HEARTBEATS = "cht_sync_heartbeats"
COLUMNS = ("source", "standby", "epoch", "beat")
BEAT_EVERY = 2.0
"""Seconds from one beat to the next."""
BEAT_TIMEOUTS = Timeouts(connect=2.0, answer=2.0)
STOPPED_AFTER = 7.0
"""Seconds without a beat after which a heart has stopped: one beat may be lost with both time-outs."""
LONGEST_GAP = 3.0
"""Seconds between two looks after which the time in between does not count: what delayed the look may have
delayed the beats."""
BEATS_FOR = 180.0
"""Seconds for which a heart beats after a claim, and after the last sign of a standby."""
STANDBYS_EVERY = 20.0
"""Seconds between two looks of a writer for somebody who stands by."""
SIGN_EVERY = 5.0
"""Seconds between two signs of who stands by."""
REFUSED_PAUSE = 60.0
"""Seconds until it is tried again where an operator is needed: a layout without hearts, above all."""


class Heart:
    """Beats for one writer at a time, in a thread; `connection` is its own."""

    def __init__(self, connection: PostgrestConnection, base_url: str) -> None:
        self._connection = connection
        self._base_url = base_url
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
        standbys = _Standbys(self._connection, source)
        number, rests = 0, False
        while not stop.is_set():
            began, pause = time.monotonic(), BEAT_EVERY
            number += 1
            try:
                if standbys.may_look():
                    _say(self._connection, self._base_url, source, epoch, number, standby=False)
                    rests = False
                elif not rests:
                    _say(self._connection, self._base_url, source, epoch, None, standby=False)
                    rests = True
            except Superseded:
                return  # the writer learns that with its next request
            except DestinationUnavailable as error:
                log.debug("%s: its heart did not beat: %s", source, error)
            except DeliveryError as error:
                log.debug("%s: its heart cannot beat: %s", source, error)
                pause = REFUSED_PAUSE
            if rests:
                pause = STANDBYS_EVERY
            stop.wait(max(0.0, pause - (time.monotonic() - began)))


class _Standbys:
    """Whether somebody stands by who may look at a writer's heart."""

    def __init__(self, connection: PostgrestConnection, source: str) -> None:
        self._connection = connection
        self._source = source
        self._looked: float | None = None
        self._seen: list[dict[str, Any]] = []
        self._until = time.monotonic() + BEATS_FOR

    def may_look(self) -> bool:
        """Asked again and again; raises DeliveryError."""
        now = time.monotonic()
        if self._looked is None or now - self._looked >= STANDBYS_EVERY:
            seen = _signs(self._connection, self._source, standby=True)
            # The sign that is there at the beginning may be an old one.
            if self._looked is not None and seen != self._seen:
                self._until = now + BEATS_FOR
            self._looked, self._seen = now, seen
        return now < self._until


class OtherHeart:
    """What a standby sees of the writer that has taken over; its own signs ask that one's heart to beat."""

    def __init__(self, connection: PostgrestConnection, base_url: str) -> None:
        self._connection = connection
        self._base_url = base_url
        self._seen: tuple[int, int, int] | None = None
        self._since = self._looked = 0.0
        self._said: float | None = None

    def has_stopped(self, source: str, own: int, epoch: int, batch: int) -> bool:
        """Whether the heart of the writer with this epoch has stopped; a new batch is a beat, too.

        Asked again and again, by one that had the epoch `own`. False where it is not known to beat.
        """
        beat = None
        try:
            if self._said is None or time.monotonic() - self._said >= SIGN_EVERY:
                sign = secrets.randbelow(1 << 31)
                _say(self._connection, self._base_url, source, own, sign, standby=True)
                self._said = time.monotonic()
            for row in _signs(self._connection, source, standby=False):
                beat = row["beat"] if row["epoch"] == epoch else None
        except DeliveryError as error:
            log.debug("%s: the writer's heart cannot be seen: %s", source, error)
        now = time.monotonic()
        seen = None if beat is None else (epoch, batch, beat)
        if seen != self._seen or now - self._looked > LONGEST_GAP:
            self._seen, self._since = seen, now
        self._looked = now
        return seen is not None and now - self._since >= STOPPED_AFTER


def _say(
    connection: PostgrestConnection,
    base_url: str,
    source: str,
    epoch: int,
    beat: int | None,
    *,
    standby: bool,
) -> None:
    row = dict(zip(COLUMNS, (source, standby, epoch, beat), strict=True))
    url = f"{base_url}/{HEARTBEATS}?on_conflict=source,standby&columns={','.join(COLUMNS)}"
    connection.insert(url, msgspec.json.encode([row]), {})


def _signs(connection: PostgrestConnection, source: str, *, standby: bool) -> list[dict[str, Any]]:
    return connection.select(HEARTBEATS, ["epoch", "beat"], source=source, standby=str(standby).lower())
