"""One request to an HTTP server, and what it answered.

Source: logstash-mixin-http_client 7.5 over Manticore and Apache HttpClient: which errors are repeated at
once, which redirects are followed. The HTTP library's errors become ours here and nowhere else.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar, get_cookie_header
from urllib3.util import make_headers

from cht_sync import authorities, backoff
from cht_sync.pipeline.http.failed import let_go
from cht_sync.pipeline.http.proxy import Proxy

IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
REDIRECTS = frozenset({301, 302, 307, 308})
MOST_REDIRECTS = 50
SAID = 2_000
"""Bytes of an answer that are kept."""
MOST_DISCARDED = 1 << 20
"""Bytes of an answer that are read past to use its connection again."""

_ILLEGAL = re.compile(r'[\x00-\x20\x7f"<>\\^`{|}]|%(?![0-9A-Fa-f]{2})')
_ENDS_A_LINE = re.compile(r"[\r\n\0]")


class Unsendable(ValueError):
    """A request that no server can be sent: its address or a header is malformed."""


class NoAnswer(Exception):
    """The server did not answer, or its answer broke off."""


class Answer(NamedTuple):
    """The status, how the body begins, and for how many seconds the server asks to be left alone."""

    status: int
    said: str
    pause: float = 0.0


@dataclass(frozen=True)
class Request:
    """What is sent. Names of headers are kept as they are, also two that differ in case only."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | bytearray | None


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How requests are made; times in seconds.

    `hosts` and `per_host` bound the connections that are kept; `repeats` is how often a request is made
    again at once when its connection breaks, where its method allows that or `repeats_all` is true.
    """

    connect_timeout: float
    socket_timeout: float
    hosts: int
    per_host: int
    keepalive: bool
    repeats: int
    repeats_all: bool
    follows_redirects: bool
    cookies: bool
    proxy: Proxy | None
    tls: ssl.SSLContext


class HttpClient:
    """Connections to HTTP servers; for one thread at a time."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._timeout = urllib3.Timeout(connect=behaviour.connect_timeout, read=behaviour.socket_timeout)
        self._cookies = RequestsCookieJar()
        self._pools = _pools(behaviour)

    def send(self, request: Request) -> Answer:
        """Make the request, following redirects. Raises Unsendable and NoAnswer."""
        for _ in range(MOST_REDIRECTS):
            answer, location = self._repeat(request)
            followed = self._behaviour.follows_redirects and location is not None
            if answer.status == 303 and followed:
                method = "HEAD" if request.method == "HEAD" else "GET"
            elif answer.status in REDIRECTS and followed and request.method in ("GET", "HEAD"):
                method = request.method
            else:
                return answer
            request = _redirected(replace(request, method=method, body=None), location or "")
        raise NoAnswer(f"more than {MOST_REDIRECTS} redirects")

    def close(self) -> None:
        """Let go of all connections."""
        self._pools.clear()

    def _repeat(self, request: Request) -> tuple[Answer, str | None]:
        may_repeat = self._behaviour.repeats_all or request.method in IDEMPOTENT
        repeats = self._behaviour.repeats if may_repeat else 0
        while True:
            try:
                return self._once(request)
            except urllib3.exceptions.ProtocolError as error:
                let_go(error)
                if repeats <= 0:
                    raise NoAnswer(f"the connection broke: {_short(error)}") from error
                repeats -= 1
            except (urllib3.exceptions.HTTPError, OSError) as error:
                let_go(error)
                told = authorities.refusal(
                    error, file="ssl_certificate_authorities of http", host="url of http"
                )
                raise NoAnswer(f"no answer: {'. '.join(told) if told else _short(error)}") from error

    def _once(self, request: Request) -> tuple[Answer, str | None]:
        check_address(request.url)
        _check_headers(request.headers)
        headers: dict[str, str | bytes] = {"User-Agent": "cht-sync"}
        # As bytes: text would have to be Latin-1.
        headers |= {name: value.encode(errors="replace") for name, value in request.headers.items()}
        if not self._behaviour.keepalive:
            headers["Connection"] = "close"
        asked = requests.Request(request.method, request.url)
        if self._behaviour.cookies and "Cookie" not in headers:
            cookie = get_cookie_header(self._cookies, asked)  # type: ignore[no-untyped-call]
            if cookie is not None:
                headers["Cookie"] = cookie
        try:
            response = self._pools.urlopen(
                request.method,
                request.url,
                body=request.body,
                headers=headers,
                timeout=self._timeout,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (urllib3.exceptions.LocationParseError, urllib3.exceptions.LocationValueError) as error:
            raise Unsendable(f"the address is malformed: {_short(error)}") from None
        except ValueError as error:
            raise Unsendable(f"a header is malformed: {error}") from None
        if self._behaviour.cookies:
            extract_cookies_to_jar(self._cookies, asked, response)  # type: ignore[no-untyped-call]
        said = _read(response)
        pause = backoff.requested(response.status, response.headers.get("Retry-After"))
        return Answer(response.status, said, pause), response.headers.get("Location")


def check_characters(url: str) -> None:
    """Refuse what no part of an address may have. Raises Unsendable."""
    found = _ILLEGAL.search(url)
    if found is not None:
        raise Unsendable(f"the address has {found[0]!r} at character {found.start() + 1}")


def _check_headers(headers: Mapping[str, str]) -> None:
    """Refuse what would end a header: the library lets a line go on in the next one (obsolete folding)."""
    for name, value in headers.items():
        if _ENDS_A_LINE.search(name) or _ENDS_A_LINE.search(value):
            raise Unsendable("a header is malformed: it holds the end of a line, or NUL")


def check_address(url: str) -> None:
    """Refuse what is no address of an HTTP server. Raises Unsendable."""
    check_characters(url)
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        complete = False
    if not complete:
        raise Unsendable("the address does not begin with http:// or https:// and a host")


def _pools(behaviour: Behaviour) -> urllib3.PoolManager:
    options = {"num_pools": behaviour.hosts, "maxsize": behaviour.per_host, "ssl_context": behaviour.tls}
    proxy = behaviour.proxy
    if proxy is None:
        return urllib3.PoolManager(**options)  # type: ignore[arg-type]
    login = f"{proxy.user}:{proxy.password}"
    headers = make_headers(proxy_basic_auth=login) if proxy.user else None
    return urllib3.ProxyManager(proxy.url, proxy_headers=headers, **options)  # type: ignore[arg-type]


def _redirected(request: Request, location: str) -> Request:
    """Raises Unsendable where it leads to no address."""
    try:
        url = urljoin(request.url, location)
    except ValueError:
        raise Unsendable("the server redirects to what is no address") from None
    headers = request.headers
    if urlsplit(url)[:2] != urlsplit(request.url)[:2]:
        # Another server has no business with the login.
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    return replace(request, url=url, headers=headers)


def _read(response: urllib3.BaseHTTPResponse) -> str:
    """How the body begins; the rest is read past, as long as that is cheaper than a new connection."""
    try:
        said = response.read(SAID)
        discarded = 0
        while discarded < MOST_DISCARDED and (chunk := response.read(1 << 16)):
            discarded += len(chunk)
    except urllib3.exceptions.HTTPError:
        response.close()
        raise
    if discarded < MOST_DISCARDED:
        response.release_conn()
    else:
        response.close()
    cut = f" (cut at {SAID} bytes)" if discarded else ""
    return said.decode(errors="replace") + cut


def _short(error: BaseException) -> str:
    """The innermost reason of an error of the HTTP library, without its wrapping."""
    inner: BaseException = error
    while inner.args and isinstance(inner.args[-1], BaseException):
        inner = inner.args[-1]
    return str(getattr(inner, "reason", None) or inner or type(inner).__name__)[:200]
