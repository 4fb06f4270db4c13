"""Logins at CouchDB by HTTP's Basic authentication."""

from __future__ import annotations

from requests.auth import HTTPBasicAuth


def basic(user: str, password: str) -> HTTPBasicAuth:
    """What requests signs in with: bytes, since it makes Latin-1 of texts, and CouchDB reads UTF-8."""
    return HTTPBasicAuth(user.encode(), password.encode())
