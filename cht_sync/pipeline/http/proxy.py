"""The option `proxy`: an address, or a hash of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

MEMBERS = ("url", "scheme", "host", "port", "user", "password")


@dataclass(frozen=True)
class Proxy:
    """`url` is `scheme://host:port`."""

    url: str
    user: str = ""
    password: str = ""

    @property
    def url_with_login(self) -> str:
        """The address with its login, percent-encoded."""
        if not self.user:
            return self.url
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{rest}"

    def __repr__(self) -> str:
        return f"Proxy({self.url})"


def proxy_of(value: Sequence[Any]) -> Proxy:
    """Read the option's value. Raises ValueError, whose text holds no password."""
    (given,) = value if len(value) == 1 else (None,)
    if isinstance(given, str):
        given = {"url": given}
    if not isinstance(given, dict):
        raise ValueError(f"expected an address, or a hash of {', '.join(MEMBERS)}")
    unknown = sorted(set(given) - set(MEMBERS))
    if unknown:
        raise ValueError(f"unknown in the hash: {', '.join(unknown)}; known are {', '.join(MEMBERS)}")
    url = str(given.get("url") or f"{given.get('scheme', 'http')}://{given.get('host', '')}")
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, given.get("port", parts.port)
        number = 80 if port is None else int(port)
    except (TypeError, ValueError):
        raise ValueError("expected an address such as http://proxy.example.org:3128") from None
    if not host or parts.scheme not in ("http", "https"):
        raise ValueError("expected an address such as http://proxy.example.org:3128")
    shown = f"[{host}]" if ":" in host else host
    return Proxy(
        f"{parts.scheme}://{shown}:{number}",
        str(given.get("user", unquote(parts.username or ""))),
        str(given.get("password", unquote(parts.password or ""))),
    )
