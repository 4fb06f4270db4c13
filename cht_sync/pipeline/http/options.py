"""The options of `http`, and how they fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from urllib3.util import make_headers

from cht_sync.pipeline.http.bodies import CONTENT_TYPES
from cht_sync.pipeline.http.checks import (
    check_authorities,
    check_headers,
    check_leaves,
    check_positive,
    check_proxy,
    check_url,
    depends_on_event,
)
from cht_sync.pipeline.http.tls import VERSIONS, Tls, check_protocols
from cht_sync.pipeline.plugins import CodecChoice, Contradictions, OutputOptions, Password, option, whole
from cht_sync.pipeline.templates import text_of

RETRYABLE = (429, 500, 502, 503, 504)


@dataclass(frozen=True, kw_only=True)
class Options(OutputOptions):
    """What can be set in an `http` block."""

    url: str = option(
        "string",
        required=True,
        check=check_url,
        help="Address of the request; `%{...}` is filled in for each event, and not escaped.",
    )
    http_method: str = option(
        "string",
        required=True,
        choices=("put", "post", "patch", "delete", "get", "head"),
        help="Method of the request.",
    )
    format: str = option(
        "string",
        default="json",
        choices=tuple(CONTENT_TYPES),
        help="What is sent: an event as JSON, an array of all events of a batch, a form, or `message`.",
    )
    mapping: Mapping[str, Any] | None = option(
        "hash",
        check=check_leaves,
        help="What is sent in place of the whole event; `%{...}` is filled in, and every value is a text.",
    )
    message: str | None = option(
        "string", check=check_leaves, help="The body with format `message`; `%{...}` is filled in."
    )
    headers: Mapping[str, Any] | None = option(
        "hash",
        check=check_headers,
        help="Headers; `%{...}` in their values is filled in for each event, but not with `json_batch`.",
    )
    content_type: str | None = option(
        "string", help="Content-Type of the request; unset: that of the format. A header does not change it."
    )
    http_compression: bool = option("boolean", default=False, help="Compress the body with gzip.")
    retry_failed: bool = option(
        "boolean",
        default=True,
        help="Try again what may succeed later; false: that is a dead letter at once, too.",
    )
    retryable_codes: tuple[float, ...] = option(
        "number",
        many=True,
        default=RETRYABLE,
        check=whole(100, 599),
        help="Statuses after which the request is tried again.",
    )
    ignorable_codes: tuple[float, ...] = option(
        "number", many=True, default=(), check=whole(100, 599), help="Statuses that count as success."
    )
    automatic_retries: int = option(
        "number",
        default=1,
        check=whole(0),
        help="How often a request is repeated at once when its connection breaks.",
    )
    retry_non_idempotent: bool = option(
        "boolean", default=False, help="Repeat POST and PATCH at once, too, when a connection breaks."
    )
    follow_redirects: bool = option(
        "boolean",
        default=True,
        help="Follow redirects of GET and HEAD, and 303 with a GET; false: a redirect is a refusal.",
    )
    cookies: bool = option("boolean", default=True, help="Send back the cookies that the server sets.")
    connect_timeout: float = option(
        "number", default=10, check=check_positive, help="Seconds until a connection stands."
    )
    socket_timeout: float = option(
        "number", default=10, check=check_positive, help="Seconds without a byte of an answer."
    )
    request_timeout: float = option(
        "number",
        default=60,
        check=check_positive,
        help="No effect, as requests never wait for a connection; with `position_headers` seconds without "
        "a byte of an answer, if longer than `socket_timeout`.",
    )
    pool_max: int = option(
        "number",
        default=50,
        check=check_positive,
        help="Most servers to which connections are kept open; requests are made one after another.",
    )
    pool_max_per_route: int = option(
        "number",
        default=25,
        check=check_positive,
        help="Taken and without effect: requests are made one after another, so one connection is used.",
    )
    keepalive: bool = option("boolean", default=True, help="Use a connection for more than one request.")
    validate_after_inactivity: int = option(
        "number",
        default=200,
        help="No effect: whether a connection still stands is looked at before every request.",
    )
    user: str | None = option("string", help="User for Basic authentication, with the first request.")
    password: Password | None = option("password", help="The user's password.")
    proxy: tuple[Any, ...] | None = option(
        "array",
        check=check_proxy,
        help="Address of a proxy, or a hash of its `url` (or `scheme`, `host`, `port`), `user`, `password`.",
    )
    ssl_enabled: bool = option("boolean", default=True, help="Whether the other options of TLS count.")
    ssl_certificate_authorities: tuple[Path, ...] = option(
        "path",
        many=True,
        default=(),
        check=check_authorities,
        help="A PEM file of the authorities that are trusted; unset: the machine's.",
    )
    ssl_certificate: Path | None = option("path", help="A PEM file of our own certificate.")
    ssl_key: Path | None = option("path", help="A PEM file of its key, without password.")
    ssl_verification_mode: str = option(
        "string",
        default="full",
        choices=("full", "none"),
        help="Whether the server's certificate is checked.",
    )
    ssl_supported_protocols: tuple[str, ...] = option(
        "string",
        many=True,
        default=(),
        choices=tuple(VERSIONS),
        check=check_protocols,
        help="Versions of TLS that may be used; unset: those of the machine.",
    )
    codec: CodecChoice | None = option("codec", default="plain", help="No effect; see `format`.")
    position_headers: bool = option(
        "boolean", default=False, help="Send the position as headers, to PostgREST (not in Logstash)."
    )
    jwt_secret: Password | None = option(
        "password", help="Signs a short-lived token for each request (not in Logstash)."
    )
    jwt_role: str | None = option("string", help="The role in the token (not in Logstash).")

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if self.position_headers:
            problems += _problems_with_position(self)
        if problems:
            raise Contradictions(problems)

    @property
    def tls(self) -> Tls:
        """What the options of TLS say."""
        if not self.ssl_enabled:
            return Tls()
        return Tls(
            next(iter(self.ssl_certificate_authorities), None),
            self.ssl_certificate,
            self.ssl_key,
            self.ssl_verification_mode == "full",
            self.ssl_supported_protocols,
        )

    @property
    def header_texts(self) -> dict[str, str]:
        """The headers, their values as texts."""
        return {name: text_of(value) for name, value in (self.headers or {}).items()}

    @property
    def authorization(self) -> dict[str, str]:
        """The header of Basic authentication, where there is a user."""
        if self.user is None or self.password is None:
            return {}
        # The bytes of UTF-8 one by one: the library would encode text as Latin-1.
        login = f"{self.user}:{self.password.value}".encode().decode("latin-1")
        return {"Authorization": make_headers(basic_auth=login)["authorization"]}


WITHOUT_POSITION = (
    *("mapping", "message", "http_compression", "retry_failed", "retryable_codes", "ignorable_codes"),
    *("automatic_retries", "retry_non_idempotent", "follow_redirects", "cookies", "keepalive"),
    *("pool_max", "pool_max_per_route", "validate_after_inactivity"),
)
"""Options that `position_headers` leaves nothing to decide."""


def _problems(options: Options) -> list[str]:
    problems = []
    if options.format == "message" and options.message is None:
        problems.append('format => "message" needs the option "message"')
    if options.format == "json_batch" and depends_on_event(options.url):
        problems.append(
            'the url cannot depend on the event with format => "json_batch"; use format => "json"'
        )
    if (options.user is None) != (options.password is None or not options.password.value):
        problems.append("user and password go together; one of them is not set")
    if (options.ssl_certificate is None) != (options.ssl_key is None):
        problems.append("ssl_certificate and ssl_key go together; one of them is not set")
    if (options.jwt_secret is None) != (options.jwt_role is None):
        problems.append("jwt_secret and jwt_role go together; one of them is not set")
    if options.user is not None and options.jwt_secret is not None:
        problems.append("user and jwt_secret would both be the Authorization header; leave one out")
    if options.tls != Tls():
        try:
            options.tls.context()
        except ValueError as error:
            problems.append(str(error))
    return problems


def _problems_with_position(options: Options) -> list[str]:
    problems = [
        f"position_headers goes without {field.name}: the code of PostgREST's error decides"
        for field in fields(options)
        if field.name in WITHOUT_POSITION and getattr(options, field.name) != field.default
    ]
    if not (options.content_type or CONTENT_TYPES["json"]).startswith(CONTENT_TYPES["json"]):
        problems.append("position_headers needs the content_type application/json")
    if any(depends_on_event(text) for text in (options.url, *options.header_texts.values())):
        problems.append("url and headers cannot depend on the event with position_headers")
    return problems
