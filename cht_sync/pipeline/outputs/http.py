"""http: events as JSON to an HTTP server.

Delivery: at least once. A batch counts as delivered when every event was accepted or became a dead
letter; until then it is sent again, with growing pauses, for as long as the server may recover.

Options are those of logstash-output-http that cht-sync's configurations use. `position_headers` is
ours: the server is then a PostgREST over cht-sync's schema, and the position goes with the data.
Without it the status decides: 2xx is success; the retryable ones are tried again for ever; anything
else is a dead letter in a file, where the original logs and drops.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import requests

from cht_sync import backoff
from cht_sync.errors import ConfigError
from cht_sync.pipeline.contracts import Batch, Output, Position, Rejected, StoredDocument
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.document import RawDocument
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.plugins import OutputOptions, Password, PluginContext, option, register_output
from cht_sync.pipeline.postgrest.connection import PostgrestConnection, Timeouts
from cht_sync.pipeline.postgrest.storable import is_storable_text, looks_unstorable
from cht_sync.pipeline.postgrest.writer import Row, Writer, mended, tombstone
from cht_sync.tokens import TokenSource

log = logging.getLogger(__name__)

RETRYABLE = frozenset({429, 500, 502, 503, 504})
"""logstash-output-http's default of `retryable_codes`."""


@dataclass(frozen=True, kw_only=True)
class Options(OutputOptions):
    """What can be set in an `http` block."""

    url: str = option("uri", required=True, help="Address of the request")
    http_method: str = option(
        "string", required=True, choices=("post", "put", "patch"), help="Method of the request"
    )
    headers: Mapping[str, str] | None = option("hash", default=None, help="Headers of the request")
    content_type: str = option("string", default="application/json", help="Content-Type of the request")
    format: str = option(
        "string", default="json", choices=("json", "json_batch"), help="One event, or an array of them"
    )
    connect_timeout: int = option("number", default=10, help="Seconds until a connection stands")
    request_timeout: int = option("number", default=60, help="Seconds until an answer begins")
    position_headers: bool = option(
        "boolean", default=False, help="Send the position as headers, to PostgREST (not in Logstash)"
    )
    jwt_secret: Password | None = option(
        "password", default=None, help="Signs a short-lived token for each request (not in Logstash)"
    )
    jwt_role: str | None = option("string", default=None, help="The role in the token (not in Logstash)")


class PostgrestOutput:
    """The output to PostgREST; it keeps the position."""

    def __init__(self, options: Options, context: PluginContext) -> None:
        tokens = None
        if options.jwt_secret is not None and options.jwt_role is not None:
            tokens = TokenSource(options.jwt_secret.value, options.jwt_role)
        base_url = options.url.partition("?")[0].rsplit("/", 1)[0]
        self._connection = PostgrestConnection(
            base_url, tokens, Timeouts(options.connect_timeout, options.request_timeout)
        )
        dead_letters = DeadLetterFile(context.data_folder, context.pipeline_id)
        metrics = context.metrics_of(OutputMetrics)
        self._writer = Writer(self._connection, base_url, options.url, dead_letters, metrics)

    def claim(self, source: str, stop: threading.Event) -> Position | None:
        """See contracts.PositionKeeper."""
        return self._writer.claim(source, stop)

    def is_released(self, stop: threading.Event) -> bool:
        """See contracts.PositionKeeper."""
        return self._writer.is_released(stop)

    def report(self, problem: str, stop: threading.Event) -> None:
        """See contracts.PositionKeeper."""
        self._writer.report(problem, stop)

    def stored_after(self, document_id: str, stop: threading.Event) -> Sequence[StoredDocument]:
        """See contracts.PositionKeeper."""
        return self._writer.stored_after(document_id, stop)

    def bury(self, documents: Sequence[StoredDocument], stop: threading.Event) -> bool:
        """See contracts.PositionKeeper."""
        return self._writer.write([tombstone(one) for one in documents], None, stop)

    def write(self, batch: Batch, stop: threading.Event) -> bool:
        rows: dict[str, Row] = {}
        rejected = list(batch.rejected)
        for event in batch.events:
            row = row_of(event)
            problem = _problem_of_identity(row.document_id)
            if problem is None:
                # The same row twice in one statement would be refused as a whole.
                rows.pop(row.document_id, None)
                rows[row.document_id] = row
            else:
                document = row.original.decode(errors="backslashreplace")
                id = row.document_id or None
                rejected.append(Rejected(id, row.revision, row.sequence, *problem, document))
        stored = list(rows.values())
        return self._writer.reject(rejected, stop) and self._writer.write(stored, batch.position, stop)

    def close(self) -> None:
        self._writer.release()
        self._connection.close()


class PlainOutput:
    """The output to any other server."""

    def __init__(self, options: Options, context: PluginContext) -> None:
        self._options = options
        self._dead_letters = DeadLetterFile(context.data_folder, context.pipeline_id)
        self._metrics = context.metrics_of(OutputMetrics)
        self._headers = {"Content-Type": options.content_type, **(options.headers or {})}
        self._session = requests.Session()
        self._session.trust_env = False

    def write(self, batch: Batch, stop: threading.Event) -> bool:
        bodies = [event.to_json() for event in batch.events]
        if self._options.format == "json_batch" and bodies:
            bodies = [b"[" + b",".join(bodies) + b"]"]
        return all(self._deliver(body, stop) for body in bodies)

    def close(self) -> None:
        self._session.close()

    def _deliver(self, body: bytes, stop: threading.Event) -> bool:
        delays = backoff.delays(first=0.2)
        while not stop.is_set():
            status, said = self._send(body)
            if 200 <= status < 300:
                self._metrics.sent(len(body))
                return True
            if status and status not in RETRYABLE:
                self._dead_letters.append(
                    [Rejected(None, None, None, f"HTTP {status}", said, body.decode(errors="replace"))]
                )
                self._metrics.answered()
                self._metrics.buried(1)
                log.error("%s answered %s; the events are now a dead letter", self._options.url, status)
                return True
            seconds = next(delays)
            log.warning("%s: %s; next try in %.1f s", self._options.url, said or status, seconds)
            self._metrics.failed(f"the server answered {status}" if status else "no answer", serious=False)
            stop.wait(seconds)
        return False

    def _send(self, body: bytes) -> tuple[int, str]:
        """Return the status and what was said; status 0 when there was no answer."""
        try:
            response = self._session.request(
                self._options.http_method.upper(),
                self._options.url,
                data=body,
                headers=self._headers,
                timeout=(self._options.connect_timeout, self._options.request_timeout),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            return 0, f"no answer: {error}"
        return response.status_code, response.text[:300]


@register_output("http", Options)
def build(options: Options, context: PluginContext) -> Output:
    """Make the output; nothing is connected before the first request."""
    if not options.position_headers:
        return PlainOutput(options, context)
    if options.format != "json_batch" or options.http_method != "post":
        raise ConfigError('http: position_headers needs http_method => "post" and format => "json_batch"')
    return PostgrestOutput(options, context)


def row_of(event: Event) -> Row:
    """The row that an event becomes."""
    sequence = event.metadata.get("seq")
    document = event.fields.get("doc")
    row = Row(
        str(event.get("_id") or ""),
        str(event.get("_rev") or ""),
        event.to_json(),
        None if sequence is None else str(sequence),
        document.raw if isinstance(document, RawDocument) else None,
    )
    return mended(row) if looks_unstorable(row.body) else row


def _problem_of_identity(document_id: str) -> tuple[str, str] | None:
    """Why a document with this id can be no row: code and reason. It is never given another id."""
    if not document_id:
        return "no_id", "the change has no _id"
    if not is_storable_text(document_id):
        return "22P05", "its _id holds a character that PostgreSQL cannot store"
    return None
