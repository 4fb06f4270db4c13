"""New connections while the process has no file handles left: a pause between two tries, a line in the log.

waitress would try again at once, for as long as it lasts, with a traceback for each try.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from typing import Any

from cht_sync.logs import fields

logger = logging.getLogger(__name__)

SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PAUSE = 1.0
"""Seconds; connections that were made meanwhile wait in the queue of the listening socket."""


class PatientAccepting:
    """Takes the place of a server's `accept`; `look` is called from the loop's own thread."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._accept = server.accept
        self._failed_since: float | None = None
        self._resume_at = 0.0
        server.accept = self._accept_or_rest

    def look(self) -> None:
        """Go on accepting once the pause is over."""
        if not self._server.accepting and time.monotonic() >= self._resume_at:
            self._server.accepting = True

    def _accept_or_rest(self) -> tuple[socket.socket, Any] | None:
        try:
            accepted: tuple[socket.socket, Any] | None = self._accept()
        except OSError as error:
            if error.errno not in SCARCE:
                raise
            now = time.monotonic()
            self._server.accepting, self._resume_at = False, now + PAUSE
            if self._failed_since is None:
                self._failed_since = now
                logger.error(
                    "no new connection can be taken (%s); tried again every %.0f s. "
                    "Raise the limit of open files (ulimit -n).",
                    error.strerror,
                    PAUSE,
                    extra=fields(event="connections_refused", error=str(error.strerror)),
                )
            return None
        if self._failed_since is not None and accepted is not None:
            lasted, self._failed_since = time.monotonic() - self._failed_since, None
            logger.warning(
                "connections are taken again after %.1f s",
                lasted,
                extra=fields(event="connections_recovered", duration_seconds=lasted),
            )
        return accepted
