"""http: events to an HTTP server, one by one or as an array of JSON.

Delivery: at least once and in order. A batch counts as delivered when every event was accepted or became a
dead letter; until then it is sent again, with growing pauses, for as long as the server may recover. A stop
ends such a pause, not the batch. Requests are made one after another, over one connection.

Options are those of logstash-output-http 6.0.1. The status of an answer decides: 2xx and `ignorable_codes`
are success; `retryable_codes` and a server that does not answer are tried again for ever; anything else makes
each event a dead letter, where the original logs and drops. A `json_batch` that is refused is sent in halves,
again and again, until the events are found whose fault it is. A `Retry-After` of 429 and 503 is honoured, up
to five minutes.

Of statuses that may be about url, method, login or headers (3xx, 401 to 407, 410, 411, 415, 426, 501, 505,
511) five in a row make dead letters, before the first success one; 50 where the url depends on the event
and the status is 404 or 410. The next one says that every event would be refused: the output waits, says so
in the log once a minute and in the health report, tries again with growing pauses and goes on by itself
once that is mended. With `retry_failed => false` nothing waits.

`position_headers` is ours: the server is then a PostgREST over cht-sync's schema, the position goes with the
data, and the code of an error decides what it means.
"""

from __future__ import annotations

import logging

import requests
import urllib3

from cht_sync.errors import ConfigError
from cht_sync.pipeline.contracts import Output
from cht_sync.pipeline.http.bodies import CONTENT_TYPES, body_maker
from cht_sync.pipeline.http.checks import depends_on_event
from cht_sync.pipeline.http.client import Behaviour, HttpClient
from cht_sync.pipeline.http.options import Options
from cht_sync.pipeline.http.plain import PlainOutput, Verdicts
from cht_sync.pipeline.http.proxy import proxy_of
from cht_sync.pipeline.http.requests import Requests
from cht_sync.pipeline.http.tls import Tls
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.plugins import PluginContext, register_output
from cht_sync.pipeline.postgrest.connection import PostgrestConnection, Timeouts
from cht_sync.pipeline.postgrest.heart import BEAT_TIMEOUTS, Heart
from cht_sync.pipeline.postgrest.output import PostgrestOutput
from cht_sync.pipeline.templates import Template, compile_template
from cht_sync.tokens import TokenSource

log = logging.getLogger(__name__)


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
    name = f"pipeline {context.pipeline_id}: {metrics.id or 'http'}: {_shown(options.url)}"
    if not options.tls.verifies:
        # Said once; the library would say it with every request.
        log.warning('%s: ssl_verification_mode => "none": the server may be anybody', name)
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    tokens = _tokens(options)
    if not options.position_headers:
        if options.format == "json_batch" and any(map(depends_on_event, options.header_texts.values())):
            log.warning('%s: with format => "json_batch" headers are sent as written', name)
        if options.format == "message" and options.mapping is not None:
            log.warning('%s: mapping has no effect with format => "message"', name)
        return PlainOutput(
            name,
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
    # A connection of its own, since it beats while the other one waits for an answer.
    beating = PostgrestConnection(base_url, _tokens(options), BEAT_TIMEOUTS, _session(options))
    heart = Heart(beating, base_url)
    return PostgrestOutput(connection, base_url, options.url, dead_letters, metrics, heart)


def _tokens(options: Options) -> TokenSource | None:
    if options.jwt_secret is None or options.jwt_role is None:
        return None
    return TokenSource(options.jwt_secret.value, options.jwt_role)


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
    headers = options.header_texts
    return Requests(
        method=options.http_method.upper(),
        url=compile_template(options.url),
        url_varies=depends_on_event(options.url),
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


def _constant(text: str) -> Template:
    return lambda _event: text


def _session(options: Options) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    if options.tls != Tls():
        options.tls.apply(session)
    for name, value in options.header_texts.items():
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
