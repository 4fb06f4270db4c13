"""Tokens for PostgREST: JSON Web Tokens signed with HS256, carrying the role that may write.

Source: PostgREST's documentation, "Authentication" (claims `role` and `exp`).
"""

from __future__ import annotations

import time

import jwt

SHORT_LIFE = 600
"""Seconds; our engine makes a new token before the old one ends."""
LONG_LIFE = 365 * 24 * 3600
"""Seconds; Elastic's Logstash cannot renew a token."""
SMALLEST_REMAINDER = 60
"""Seconds that a token must have left to be used once more; covers clocks that differ a little."""


def make_token(secret: str, role: str, *, lifetime: float = SHORT_LIFE) -> str:
    """Return a signed token for `role` that ends after `lifetime` seconds."""
    now = int(time.time())
    return jwt.encode({"role": role, "iat": now, "exp": now + int(lifetime)}, secret, algorithm="HS256")


class TokenSource:
    """Gives a token that lives, made anew before it ends."""

    def __init__(self, secret: str, role: str) -> None:
        self._secret = secret
        self._role = role
        self._token = ""
        self._ends = 0.0

    def token(self) -> str:
        """The current token."""
        now = time.time()
        if self._ends - now < SMALLEST_REMAINDER:
            self._token = make_token(self._secret, self._role)
            self._ends = now + SHORT_LIFE
        return self._token

    def renew(self) -> None:
        """Forget the current token: the server has refused it."""
        self._ends = 0.0
