"""One login at a time per server, and a long pause after a refusal.

CouchDB 3.4 locks an account for five minutes after six wrong passwords, from then on even for the
right one. So all pipelines of a process share a gate per server and user: until one login has
succeeded, only one is under way, and after a refusal none is tried for five minutes.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cht_sync.errors import LoginRefused, SourceUnavailable
from cht_sync.pipeline.couchdb.hints import to_correct

PAUSE = 300.0
"""Seconds after a refused login; CouchDB's lock-out lasts as long."""
REFUSED = (401, 403)
NOT_ALLOWED_HERE = "You are not allowed to access this db."
"""The 403 of a login that works, for one database; a locked account's 403 has other words."""

Verdict = Callable[[int, str], None]
"""Takes the HTTP status and the server's words. Raises LoginRefused for a refused login,
SourceUnavailable where the login works and only this database is closed to it."""


def login_to_correct(*, by_settings: bool = False) -> str:
    """What says user and password."""
    return to_correct("COUCHDB_USER and COUCHDB_PASSWORD", "username and password", by_settings=by_settings)


class LoginGate:
    """The shared knowledge of whether a login works; `mend` names what to correct where it does not.

    Unset, that is user and password.
    """

    def __init__(self, user: str, mend: str | None = None) -> None:
        self._user = user
        self._mend = mend or login_to_correct()
        self._one_at_a_time = threading.Lock()
        self._works = False
        self._closed_until = 0.0

    @contextmanager
    def attempt(self, stop: threading.Event) -> Iterator[Verdict]:
        """Make one request; the caller passes its status to the verdict. Waits while logins rest.

        Raises LoginRefused at once while the pause after a refusal lasts.
        """
        if self._works:
            yield self._verdict
            return
        while not self._one_at_a_time.acquire(timeout=0.2):
            if stop.is_set():
                raise LoginRefused("stopped before the login")
        try:
            remaining = self._closed_until - time.monotonic()
            if remaining > 0:
                raise LoginRefused(f"login of {self._user} rests for {remaining:.0f} s after a refusal")
            yield self._verdict
        finally:
            self._one_at_a_time.release()

    def doubt(self) -> None:
        """A connection broke: the server may come back with another password, so again one goes first."""
        self._works = False

    def remaining_pause(self) -> float:
        """Seconds until the next login may be tried; 0 when it may be now."""
        return max(0.0, self._closed_until - time.monotonic())

    def _verdict(self, status: int, said: str) -> None:
        if status == 403 and said == NOT_ALLOWED_HERE:
            self._works = True
            raise SourceUnavailable(
                f"{self._user} may not read this database",
                hint="Add the user to the members in the database's security object.",
            )
        if status in REFUSED:
            self._works = False
            self._closed_until = time.monotonic() + PAUSE
            raise LoginRefused(
                f"CouchDB refuses the login of {self._user}: {said or status}",
                hint=f"Correct {self._mend}; the next try comes in five minutes, or at once after a restart.",
            )
        self._works = True


_gates: dict[tuple[str, str], LoginGate] = {}
_gates_lock = threading.Lock()


def gate_for(address: str, user: str, password: str, *, by_settings: bool = False) -> LoginGate:
    """The gate that all pipelines of this process share for a server, a user and a password.

    `by_settings`: settings say these, not options. Another password has another gate: one that was
    corrected need not wait for the end of the pause.
    """
    return _gate(address, f"{user}\0{password}", LoginGate(user, login_to_correct(by_settings=by_settings)))


def gate_for_token(address: str, token: str) -> LoginGate:
    """The gate that all pipelines of this process share for a server and a bearer token."""
    return _gate(address, token, LoginGate("the bearer token", "bearer_token"))


def _gate(address: str, secret: str, new: LoginGate) -> LoginGate:
    with _gates_lock:
        return _gates.setdefault((address, hashlib.sha256(secret.encode()).hexdigest()), new)
