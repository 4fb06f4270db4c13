"""The output to a server of which nothing is known but HTTP: the status of an answer decides.

Delivery: at least once and in order. A batch counts as delivered when every event was accepted or became a
dead letter; until then it is sent again, with growing pauses, for as long as the server may recover, or an
operator may mend what it refuses every event for. A stop ends such a pause, and nothing else: a server that
takes what it is sent gets the whole batch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cht_sync import backoff
from cht_sync.logs import fields
from cht_sync.pipeline.contracts import Batch
from cht_sync.pipeline.dead_letter import DeadLetterFile
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.http.client import Answer, HttpClient, NoAnswer, Request, Unsendable
from cht_sync.pipeline.http.letters import Letters
from cht_sync.pipeline.http.refusals import Refused, Streak
from cht_sync.pipeline.http.requests import Requests
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.outage import Outage
from cht_sync.pipeline.tally import Tally
from cht_sync.tokens import TokenSource

log = logging.getLogger(__name__)

UNAUTHORIZED = 401
LONGEST_REASON = 300
"""Characters; the response of a letter has more."""
REMEDY = (
    "Correct url, method, login or headers; a status that is about single events belongs into ignorable_codes"
)


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

    def may_be_about_one_of_several(self, refusal: Refused) -> bool:
        """Whether fewer events in a request may get another answer."""
        return refusal.answer is not None and refusal.status not in self.retryable


@dataclass(frozen=True)
class _Later:
    """Why a request is to be tried again, after `pause` seconds at least."""

    problem: str
    pause: float = 0.0


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
        self._letters = Letters(name, dead_letters, metrics)
        self._metrics = metrics
        self._tokens = tokens
        self._refusals = Streak(url_varies=requests.url_varies)
        self._waited = Tally()
        self._outage = Outage()

    def write(self, batch: Batch, stop: threading.Event) -> bool:
        self._letters.say()
        if self._requests.batched:
            return not batch.events or self._deliver(batch.events, stop)
        return all(self._deliver([event], stop) for event in batch.events)

    def close(self) -> None:
        self._letters.say(at_once=True)
        self._client.close()

    def _deliver(self, events: Sequence[Event], stop: threading.Event) -> bool:
        try:
            request = self._requests.request(events)
        except ValueError as error:
            if len(events) > 1:
                return self._deliver_halves(events, stop)
            self._letters.bury(events, Refused("unsendable", str(error)))
            return True
        delays = backoff.delays(first=0.2)
        while True:
            try:
                later = self._try(request, len(events))
            except Refused as refusal:
                if len(events) > 1 and self._verdicts.may_be_about_one_of_several(refusal):
                    self._metrics.refused("refused")
                    return self._deliver_halves(events, stop)
                if not (self._verdicts.retries and self._refusals.is_too_long(refusal)):
                    self._metrics.refused("refused")
                    self._letters.bury(events, refusal)
                    return True
                seconds = next(delays)
                self._say_misconfigured(refusal, seconds)
            else:
                if later is None:
                    return True
                seconds = max(next(delays), later.pause)
                self._outage.failed()
                log.warning(
                    "%s: %s; next try in %.1f s",
                    self._name,
                    later.problem,
                    seconds,
                    extra=fields(
                        event="delivery_failed",
                        error=later.problem,
                        attempts=self._outage.attempts,
                        pause_seconds=seconds,
                    ),
                )
                self._metrics.failed(later.problem, serious=False)
            if stop.wait(seconds):
                log.warning("%s: stopped while it waits; the batch in hand is not acknowledged", self._name)
                return False

    def _deliver_halves(self, events: Sequence[Event], stop: threading.Event) -> bool:
        half = len(events) // 2
        return self._deliver(events[:half], stop) and self._deliver(events[half:], stop)

    def _try(self, request: Request, events: int) -> _Later | None:
        """Send a request; None when it was accepted, else why it shall be tried again. Raises Refused."""
        began = time.perf_counter_ns()
        try:
            answer = self._send(request)
        except Unsendable as error:
            raise Refused("unsendable", str(error)) from None
        except NoAnswer as failure:
            if self._verdicts.retries:
                return _Later(str(failure))
            raise Refused("no_answer", str(failure)) from None
        status = answer.status
        if self._verdicts.accepts(status):
            self._refusals.accepted()
            self._say_recovered()
            duration = time.perf_counter_ns() - began
            self._metrics.sent(len(request.body or b""), events=events, duration=duration)
            return None
        if self._verdicts.may_recover(status):
            return _Later(f"the server answered {status}", answer.pause)
        reason = answer.said[:LONGEST_REASON] or "the server gave no reason"
        refusal = Refused(f"HTTP {status}", reason, answer)
        if not refusal.is_about_configuration:
            self._metrics.answered()
        raise refusal

    def _say_recovered(self) -> None:
        if lasted := self._outage.over():
            log.info(
                "%s: delivers again after %.1f s and %d tries in vain",
                self._name,
                lasted.seconds,
                lasted.attempts,
                extra=fields(
                    event="delivery_recovered", attempts=lasted.attempts, duration_seconds=lasted.seconds
                ),
            )

    def _send(self, request: Request) -> Answer:
        if self._tokens is None:
            return self._client.send(request)
        answer = self._client.send(_signed(request, self._tokens))
        if answer.status == UNAUTHORIZED:
            self._tokens.renew()
            answer = self._client.send(_signed(request, self._tokens))
        return answer

    def _say_misconfigured(self, refusal: Refused, seconds: float) -> None:
        # Without the reason, which may quote the event.
        problem = f"the server refuses one event after another ({refusal.code}); they wait. {REMEDY}"
        self._metrics.failed(problem, serious=True)
        self._waited.add(refusal.code)
        said = self._waited.due()
        if said is not None:
            log.error(
                "%s: %s; refused %d times, next try in %.1f s",
                self._name,
                problem,
                said[1],
                seconds,
                extra=fields(
                    event="delivery_failed",
                    code=refusal.code,
                    error=problem,
                    attempts=said[1],
                    pause_seconds=seconds,
                ),
            )


def _signed(request: Request, tokens: TokenSource) -> Request:
    others = {name: text for name, text in request.headers.items() if name.lower() != "authorization"}
    return replace(request, headers={**others, "Authorization": f"Bearer {tokens.token()}"})
