"""The cookie that a login was exchanged for, shared by all who read from a server under one name.

CouchDB gives it for ten minutes and renews it in its answers (`Set-Cookie`) while it is used; the jar takes
what any answer brings. It lives in memory only.
"""

from __future__ import annotations

import threading

from requests.cookies import RequestsCookieJar

COOKIE = "AuthSession"


class CookieSession:
    """The cookie of one login. Whoever looks whether a new one is needed, and asks for it, holds `lock`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.jar = RequestsCookieJar()

    @property
    def value(self) -> str | None:
        """The cookie; None where there is none, or it has expired."""
        self.jar.clear_expired_cookies()
        for cookie in self.jar:
            if cookie.name == COOKIE and cookie.value:
                return cookie.value
        return None


_sessions: dict[tuple[str, str], CookieSession] = {}
_sessions_lock = threading.Lock()


def session_for(address: str, user: str) -> CookieSession:
    """The session that all pipelines of this process share for a server and a user."""
    with _sessions_lock:
        return _sessions.setdefault((address, user), CookieSession())
