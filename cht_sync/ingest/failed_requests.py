"""What the log says of requests that fail: the first of each kind, and a minute later how many followed."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from cht_sync.logs import fields

logger = logging.getLogger(__name__)

SAY_AGAIN = 60.0
"""Seconds between two lines about the same; what does not fail for so long is forgotten."""
MOST_KINDS = 100
"""Kinds that are told apart; what comes beyond that is said once a minute together."""
LOOK_EVERY = 1.0
"""Seconds between two looks whether something is left to say."""
SERVER_FAULT = 500
ALL = "all requests"
"""The name for what fails whatever a request wants; the success of any request ends it."""
OTHERS = "other requests"


@dataclass
class _Kind:
    """`code` and `unsaid` of what came since `said_at`."""

    said_at: float
    code: str
    unsaid: int = 0


@dataclass
class _Outage:
    """Of one name; `failed` 0: none now, but its last end was said before `quiet_until`."""

    began: float = 0.0
    failed: int = 0
    ended: float | None = None
    quiet_until: float = 0.0


class FailedRequests:
    """Called by all threads. A request is named by its method and the table, or by ALL.

    Whoever names it must not put into the name what a document holds, nor what anybody can make up.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[str, _Kind] = {}
        self._outages: dict[str, _Outage] = {}
        self._look_at = 0.0

    def failed(self, what: str, status: int, code: str) -> None:
        """A request got an error answer."""
        now = time.monotonic()
        key = f"{what}: {status}" + (f" {code}" if code else "")
        code = code or f"HTTP {status}"
        with self._lock:
            if status >= SERVER_FAULT:
                self._fails(what, now)
            if key not in self._kinds and len(self._kinds) >= MOST_KINDS:
                key = OTHERS
            kind = self._kinds.get(key)
            if kind is None:
                self._kinds[key] = _Kind(now, code)
                _say(key, 1, code)
                return
            kind.unsaid += 1
            kind.code = code
            if now - kind.said_at >= SAY_AGAIN:
                _say_rest(key, kind, now)

    def succeeded(self, what: str) -> None:
        """A request got what it asked for: what failed of its name is over, and what failed for all."""
        if not self._outages:
            return
        now = time.monotonic()
        with self._lock:
            for one in (what, ALL):
                outage = self._outages.get(one)
                if outage is not None and outage.failed and outage.ended is None:
                    outage.ended = now
                    _say_end(one, outage, now)

    def look(self, *, at_end: bool = False) -> None:
        """Say what nobody has said for a minute because nothing followed; with `at_end` all that is left."""
        now = time.monotonic()
        if now < self._look_at and not at_end:
            return
        self._look_at = now + LOOK_EVERY
        with self._lock:
            for key, kind in list(self._kinds.items()):
                if now - kind.said_at < SAY_AGAIN and not at_end:
                    continue
                if kind.unsaid:
                    _say_rest(key, kind, now)
                else:
                    del self._kinds[key]
            for what, outage in list(self._outages.items()):
                _say_end(what, outage, now)
                if not outage.failed and now >= outage.quiet_until:
                    del self._outages[what]

    def _fails(self, what: str, now: float) -> None:
        outage = self._outages.setdefault(what, _Outage())
        if not outage.failed:
            outage.began = now
        outage.failed += 1
        outage.ended = None


def _say_end(what: str, outage: _Outage, now: float) -> None:
    """Once a minute at most: what fails every now and then has not recovered each time."""
    if outage.ended is None or now < outage.quiet_until:
        return
    lasted = outage.ended - outage.began
    logger.warning(
        "%s: answered again after %.1f s, in which %d failed",
        what,
        lasted,
        outage.failed,
        extra=fields(event="requests_recovered", requests=outage.failed, duration_seconds=lasted),
    )
    outage.failed, outage.ended, outage.quiet_until = 0, None, now + SAY_AGAIN


def _say_rest(what: str, kind: _Kind, now: float) -> None:
    _say(what, kind.unsaid, kind.code)
    kind.said_at, kind.unsaid = now, 0


def _say(what: str, count: int, code: str) -> None:
    logger.warning(
        "%s%s",
        what,
        f" ({count} times since it was said last)" if count > 1 else "",
        extra=fields(event="requests_failing", requests=count, code=code),
    )
