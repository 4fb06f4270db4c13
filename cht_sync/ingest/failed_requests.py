"""What the log says of requests that fail: the first of each kind, and a minute later how many followed."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from cht_sync.logs import fields

logger = logging.getLogger(__name__)

SAY_AGAIN = 60.0
"""Seconds between two lines about the same."""
MOST_KINDS = 100
"""Kinds that are told apart; what comes beyond that is said once a minute together."""
SERVER_FAULT = 500


@dataclass
class _Kind:
    said_at: float
    unsaid: int = 0


class FailedRequests:
    """Called by all threads; whoever names a kind must not put into it what a document holds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[str, _Kind] = {}
        self._failed = 0
        self._since: float | None = None

    def failed(self, what: str, status: int, code: str) -> None:
        """A request, named by method and path, got an error answer."""
        now = time.monotonic()
        with self._lock:
            if status >= SERVER_FAULT:
                if self._since is None:
                    self._failed, self._since = 0, now
                self._failed += 1
            key = f"{what}: {status}" + (f" {code}" if code else "")
            if key not in self._kinds and len(self._kinds) >= MOST_KINDS:
                key = "other requests"
            kind = self._kinds.get(key)
            if kind is None:
                self._kinds[key] = _Kind(now)
                self._say(key, 1, code or f"HTTP {status}")
                return
            kind.unsaid += 1
            if now - kind.said_at >= SAY_AGAIN:
                self._say(key, kind.unsaid, code or f"HTTP {status}")
                kind.said_at, kind.unsaid = now, 0

    def succeeded(self) -> None:
        """A request got what it asked for."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            lasted = time.monotonic() - since
            logger.warning(
                "requests are answered again after %.1f s, in which %d failed",
                lasted,
                self._failed,
                extra=fields(event="requests_recovered", requests=self._failed, duration_seconds=lasted),
            )

    def _say(self, what: str, count: int, code: str) -> None:
        logger.warning(
            "%s%s",
            what,
            f" ({count} times since it was said last)" if count > 1 else "",
            extra=fields(event="requests_failing", requests=count, code=code),
        )
