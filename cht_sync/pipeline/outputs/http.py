"""http: events to an HTTP server, one by one or as an array of JSON.

Delivery: at least once and in order. A batch counts as delivered when every event was accepted or became a
dead letter; until then it is sent again, with growing pauses, for as long as the server may recover.

Options are those of logstash-output-http 6.0.1. The status of an answer decides: 2xx and `ignorable_codes`
are success; `retryable_codes` and a server that does not answer are tried again for ever; anything else makes
each event a dead letter, where the original logs and drops. A `json_batch` that is too large for the server
(413) is sent in halves. A `Retry-After` of 429 and 503 is honoured, up to five minutes.

Of statuses that may be about url, method, login or headers (3xx, 401 to 407, 410, 411, 415, 426, 501, 505,
511) five in a row make dead letters, before the first success one; 50 where the url depends on the event
and the status is 404 or 410. The next one says that every event would be refused: the output waits, says so
in the log once a minute and in the health report, tries again with growing pauses and goes on by itself
once that is mended. A `json_batch` that gets such a status is sent in halves first. With `retry_failed =>
false` nothing waits.

`position_headers` is ours: the server is then a PostgREST over cht-sync's schema, the position goes with the
data, and the code of an error decides what it means.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import requests
import urllib3
from urllib3.util import make_headers

from cht_sync.errors import ConfigError
from cht_sync.pipeline.contracts import Output
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.http.bodies import CONTENT_TYPES, body_maker
from cht_sync.pipeline.http.client import Behaviour, HttpClient, check_address
from cht_sync.pipeline.http.plain import PlainOutput, Verdicts
from cht_sync.pipeline.http.proxy import proxy_of
from cht_sync.pipeline.http.requests import Requests
from cht_sync.pipeline.http.tls import VERSIONS, Tls, check_protocols
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.plugins import (
    CodecChoice,
    Contradictions,
    OutputOptions,
    Password,
    PluginContext,
    option,
    register_output,
    whole,
)
from cht_sync.pipeline.postgrest.connection import PostgrestConnection, Timeouts
from cht_sync.pipeline.postgrest.output import PostgrestOutput
from cht_sync.pipeline.references import InvalidReference
from cht_sync.pipeline.templates import Template, compile_template, text_of
from cht_sync.tokens import TokenSource

log = logging.getLogger(__name__)

RETRYABLE = (429, 500, 502, 503, 504)

_REFERENCE = re.compile(r"%\{[^}]*\}")


def _check_template(text: str) -> None:
    try:
        compile_template(text)(Event())
    except InvalidReference as error:
        # Every event would fail with it.
        raise ValueError(f"%{{{error}}} is no reference to a field") from None


def _check_leaves(value: Any) -> None:
    if isinstance(value, Mapping):
        for item in value.values():
            _check_leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_leaves(item)
    elif isinstance(value, str):
        _check_template(value)


def _depends_on_event(text: str) -> bool:
    return _REFERENCE.search(text) is not None


def _check_url(url: str) -> None:
    _check_template(url)
    if not _depends_on_event(url):
        check_address(url)


def _check_headers(headers: Mapping[str, Any] | None) -> None:
    for name, value in (headers or {}).items():
        if not isinstance(value, str | int | float):
            raise ValueError(f"the value of {name!r} must be one text")
        _check_leaves(value)


def _check_positive(value: float) -> None:
    if value <= 0:
        raise ValueError("expected more than 0")


def _check_authorities(paths: tuple[Path, ...]) -> None:
    if len(paths) > 1:
        raise ValueError("only one file can be given; it may hold several certificates")


def _check_proxy(value: tuple[Any, ...] | None) -> None:
    if value is not None:
        proxy_of(value)


@dataclass(frozen=True, kw_only=True)
class Options(OutputOptions):
    """What can be set in an `http` block."""

    url: str = option(
        "string",
        required=True,
        check=_check_url,
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
        check=_check_leaves,
        help="What is sent in place of the whole event; `%{...}` is filled in, and every value is a text.",
    )
    message: str | None = option(
        "string", check=_check_leaves, help="The body with format `message`; `%{...}` is filled in."
    )
    headers: Mapping[str, Any] | None = option(
        "hash",
        check=_check_headers,
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
        "number", default=10, check=_check_positive, help="Seconds until a connection stands."
    )
    socket_timeout: float = option(
        "number", default=10, check=_check_positive, help="Seconds without a byte of an answer."
    )
    request_timeout: float = option(
        "number",
        default=60,
        check=_check_positive,
        help="No effect, as requests never wait for a connection; with `position_headers` seconds without "
        "a byte of an answer, if longer than `socket_timeout`.",
    )
    pool_max: int = option(
        "number",
        default=50,
        check=_check_positive,
        help="Most servers to which connections are kept open.",
    )
    pool_max_per_route: int = option(
        "number", default=25, check=_check_positive, help="Most connections to one server that are kept open."
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
        check=_check_proxy,
        help="Address of a proxy, or a hash of its `url` (or `scheme`, `host`, `port`), `user`, `password`.",
    )
    ssl_enabled: bool = option("boolean", default=True, help="Whether the other options of TLS count.")
    ssl_certificate_authorities: tuple[Path, ...] = option(
        "path",
        many=True,
        default=(),
        check=_check_authorities,
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
    if options.format == "json_batch" and _depends_on_event(options.url):
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
    if any(_depends_on_event(text) for text in (options.url, *_headers(options).values())):
        problems.append("url and headers cannot depend on the event with position_headers")
    return problems


@register_output(
    "http",
    Options,
    unsupported={
        **dict.fromkeys(
            ("ssl_keystore_path", "ssl_keystore_password", "ssl_keystore_type", "keystore"),
            "is not supported: give PEM files, made by `openssl pkcs12`, as ssl_certificate and ssl_key",
        ),
        **dict.fromkeys(
            ("ssl_truststore_path", "ssl_truststore_password", "ssl_truststore_type", "truststore"),
            "is not supported: give a PEM file as ssl_certificate_authorities",
        ),
        "ssl_cipher_suites": "is not supported: the machine's OpenSSL decides; see ssl_supported_protocols",
        "cacert": "is gone, as in Logstash: use ssl_certificate_authorities",
        "client_cert": "is gone, as in Logstash: use ssl_certificate",
        "client_key": "is gone, as in Logstash: use ssl_key",
        "verify_ssl": "is gone, as in Logstash: use ssl_verification_mode",
    },
)
def build(options: Options, context: PluginContext) -> Output:
    """Make the output; nothing is connected before the first request."""
    dead_letters = context.dead_letter_file(_shown(options.url))
    metrics = context.metrics_of(OutputMetrics)
    if not options.tls.verifies:
        # Said once; the library would say it with every request.
        log.warning('%s: ssl_verification_mode => "none": the server may be anybody', _shown(options.url))
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    tokens = None
    if options.jwt_secret is not None and options.jwt_role is not None:
        tokens = TokenSource(options.jwt_secret.value, options.jwt_role)
    if not options.position_headers:
        if options.format == "json_batch" and any(map(_depends_on_event, _headers(options).values())):
            log.warning('%s: with format => "json_batch" headers are sent as written', _shown(options.url))
        if options.format == "message" and options.mapping is not None:
            log.warning('%s: mapping has no effect with format => "message"', _shown(options.url))
        return PlainOutput(
            _shown(options.url),
            HttpClient(_behaviour(options)),
            _requests(options),
            Verdicts(
                frozenset(options.ignorable_codes), frozenset(options.retryable_codes), options.retry_failed
            ),
            dead_letters,
            metrics,
            tokens,
        )
    if options.format != "json_batch" or options.http_method != "post":
        raise ConfigError('http: position_headers needs http_method => "post" and format => "json_batch"')
    base_url = options.url.partition("?")[0].rsplit("/", 1)[0]
    timeouts = Timeouts(options.connect_timeout, max(options.socket_timeout, options.request_timeout))
    connection = PostgrestConnection(base_url, tokens, timeouts, _session(options))
    return PostgrestOutput(connection, base_url, options.url, dead_letters, metrics)


def _behaviour(options: Options) -> Behaviour:
    return Behaviour(
        connect_timeout=options.connect_timeout,
        socket_timeout=options.socket_timeout,
        hosts=options.pool_max,
        per_host=options.pool_max_per_route,
        keepalive=options.keepalive,
        repeats=options.automatic_retries,
        repeats_all=options.retry_non_idempotent,
        follows_redirects=options.follow_redirects,
        cookies=options.cookies,
        proxy=None if options.proxy is None else proxy_of(options.proxy),
        tls=options.tls.context(),
    )


def _requests(options: Options) -> Requests:
    batched = options.format == "json_batch"
    headers = _headers(options)
    return Requests(
        method=options.http_method.upper(),
        url=compile_template(options.url),
        url_varies=_depends_on_event(options.url),
        headers={
            name: _constant(text) if batched else compile_template(text) for name, text in headers.items()
        },
        fixed_headers={
            **options.authorization,
            "Content-Type": options.content_type or CONTENT_TYPES[options.format],
        },
        body=body_maker(options.format, options.mapping, options.message),
        batched=batched,
        compressed=options.http_compression,
    )


def _headers(options: Options) -> dict[str, str]:
    return {name: text_of(value) for name, value in (options.headers or {}).items()}


def _constant(text: str) -> Template:
    return lambda _event: text


def _session(options: Options) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    if options.tls != Tls():
        options.tls.apply(session)
    for name, value in _headers(options).items():
        # Those two are said with each request.
        if name.lower() not in ("content-type", "prefer"):
            session.headers[name] = value
    session.headers.update(options.authorization)
    if options.proxy is not None:
        proxy = proxy_of(options.proxy)
        session.proxies = {"http": proxy.url_with_login, "https": proxy.url_with_login}
    return session


def _shown(url: str) -> str:
    """The address for the log: without login and query, which may hold what nobody shall read."""
    scheme, separator, rest = url.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
