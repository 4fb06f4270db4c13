"""The output to a server of which nothing is known but HTTP: the status of an answer decides.

Delivery: at least once and in order. A batch counts as delivered when every event was accepted or became a
dead letter; until then it is sent again, with growing pauses, for as long as the server may recover.
"""

from __future__ import annotations

import gzip
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cht_sync import backoff
from cht_sync.pipeline.contracts import Batch
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.dead_letters.line import RefusedEvent, whole_event
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.http.bodies import Body
from cht_sync.pipeline.http.client import Answer, HttpClient, NoAnswer, Request, Unsendable
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.templates import Template
from cht_sync.tokens import TokenSource

log = logging.getLogger(__name__)

TOO_LARGE = "HTTP 413"
UNAUTHORIZED = 401
COMPRESSION_LEVEL = 6
LONGEST_REASON = 300
"""Characters; the response of a letter has more."""


class _Refused(Exception):
    """These events are refused for good."""

    def __init__(self, code: str, reason: str, answer: Answer | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.answer = answer


@dataclass(frozen=True, kw_only=True)
class Requests:
    """How events become requests; `batched` is one request for all events of a batch."""

    method: str
    url: Template
    headers: Mapping[str, Template]
    fixed_headers: Mapping[str, str]
    body: Body
    batched: bool
    compressed: bool

    def request(self, events: Sequence[Event]) -> Request:
        """Return the request for one event, or for several where they are batched.

        Raises ValueError where an event has not what the request is made of.
        """
        url = self.url(events[0])
        headers = {name: value(events[0]) for name, value in self.headers.items()} | dict(self.fixed_headers)
        if self.method == "HEAD":
            return Request(self.method, url, headers, None)
        body: bytes | bytearray = self._array(events) if self.batched else self.body(events[0])
        if self.compressed:
            body = gzip.compress(body, COMPRESSION_LEVEL, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return Request(self.method, url, headers, body)

    def _array(self, events: Sequence[Event]) -> bytearray:
        # Piece by piece, so that there is not everything twice.
        array = bytearray(b"[")
        for event in events:
            array += self.body(event)
            array += b","
        array[-1:] = b"]"
        return array


@dataclass(frozen=True)
class Verdicts:
    """What an answer means; a status that stands nowhere means that the request is refused for good."""

    ignorable: frozenset[float]
    retryable: frozenset[float]
    retries: bool

    def accepts(self, status: int) -> bool:
        return status in self.ignorable or 200 <= status < 300

    def may_recover(self, status: int) -> bool:
        return self.retries and status in self.retryable


class PlainOutput:
    """The output; `name` is what it is called in the log.

    With `tokens` each request carries one; a refused token is renewed once.
    """

    def __init__(
        self,
        name: str,
        client: HttpClient,
        requests: Requests,
        verdicts: Verdicts,
        dead_letters: DeadLetterFile,
        metrics: OutputMetrics,
        tokens: TokenSource | None = None,
    ) -> None:
        self._name = name
        self._client = client
        self._requests = requests
        self._verdicts = verdicts
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._tokens = tokens

    def write(self, batch: Batch, stop: threading.Event) -> bool:
        if self._requests.batched:
            return not batch.events or self._deliver(batch.events, stop)
        return all(self._deliver([event], stop) for event in batch.events)

    def close(self) -> None:
        self._client.close()

    def _deliver(self, events: Sequence[Event], stop: threading.Event) -> bool:
        try:
            request = self._requests.request(events)
        except ValueError as error:
            return self._bury(events, _Refused("unsendable", str(error)))
        delays = backoff.delays(first=0.2)
        while not stop.is_set():
            try:
                problem = self._try(request)
            except _Refused as refusal:
                if refusal.code == TOO_LARGE and len(events) > 1:
                    half = len(events) // 2
                    return self._deliver(events[:half], stop) and self._deliver(events[half:], stop)
                return self._bury(events, refusal)
            if problem is None:
                return True
            seconds = next(delays)
            log.warning("%s: %s; next try in %.1f s", self._name, problem, seconds)
            self._metrics.failed(problem, serious=False)
            stop.wait(seconds)
        return False

    def _try(self, request: Request) -> str | None:
        """Send a request; None when it was accepted, else why it shall be tried again. Raises _Refused."""
        try:
            answer = self._send(request)
        except Unsendable as error:
            raise _Refused("unsendable", str(error)) from None
        except NoAnswer as failure:
            if self._verdicts.retries:
                return str(failure)
            raise _Refused("no_answer", str(failure)) from None
        status, said = answer
        if self._verdicts.accepts(status):
            self._metrics.sent(len(request.body or b""))
            return None
        if self._verdicts.may_recover(status):
            return f"the server answered {status}"
        self._metrics.answered()
        reason = said[:LONGEST_REASON] or "the server gave no reason"
        raise _Refused(f"HTTP {status}", reason, answer)

    def _send(self, request: Request) -> Answer:
        if self._tokens is None:
            return self._client.send(request)
        answer = self._client.send(_signed(request, self._tokens))
        if answer.status == UNAUTHORIZED:
            self._tokens.renew()
            answer = self._client.send(_signed(request, self._tokens))
        return answer

    def _bury(self, events: Sequence[Event], refusal: _Refused) -> bool:
        """Keep each event as a dead letter. Raises OSError when the disk refuses."""
        self._dead_letters.append([_rejected(event, refusal) for event in events])
        self._metrics.buried(len(events))
        # Without the reason, which may quote the event.
        log.error("%s: refused for good (%s); dead letters: %d", self._name, refusal.code, len(events))
        return True


def _signed(request: Request, tokens: TokenSource) -> Request:
    others = {name: text for name, text in request.headers.items() if name.lower() != "authorization"}
    return replace(request, headers={**others, "Authorization": f"Bearer {tokens.token()}"})


def _rejected(event: Event, refusal: _Refused) -> RefusedEvent:
    document_id, sequence = event.metadata.get("_id"), event.metadata.get("seq")
    status, response = refusal.answer or (None, None)
    return RefusedEvent(
        None if document_id is None else str(document_id),
        _revision(event),
        None if sequence is None else str(sequence),
        refusal.code,
        refusal.reason,
        whole_event(event),
        status,
        response,
    )


def _revision(event: Event) -> str | None:
    for reference in ("[_rev]", "[doc][_rev]", "[@metadata][_rev]"):
        found = event.get(reference)
        if isinstance(found, str):
            return found
    return None
