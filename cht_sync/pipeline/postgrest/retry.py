"""A request that is repeated until it succeeds; a stop ends the wait between two tries."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from cht_sync import backoff
from cht_sync.errors import (
    DeliveryError,
    DestinationMisconfigured,
    DestinationUnavailable,
    DocumentRefused,
    InternalFailure,
    StatementTimeout,
    Superseded,
    sentences,
)
from cht_sync.logs import fields
from cht_sync.pipeline.monitor.metrics import OutputMetrics, Reason
from cht_sync.pipeline.outage import Outage

log = logging.getLogger(__name__)

LONGEST_WAIT = 10.0
"""Seconds between two tries, where the destination does not ask for more: so long, at most, goes by unused
after an outage of hours."""

Result = TypeVar("Result")
Errors = tuple[type[DeliveryError], ...]


REASONS: dict[type[DeliveryError], Reason] = {
    StatementTimeout: "timeout",
    InternalFailure: "internal",
    DestinationUnavailable: "unavailable",
    DocumentRefused: "refused",
    DestinationMisconfigured: "misconfigured",
    Superseded: "superseded",
}


def reason_of(error: DeliveryError) -> Reason:
    """Why a request failed, in a word of the metrics."""
    return REASONS.get(type(error), "unavailable")


class GivenUp(Exception):
    """The stop came while the destination was waited for."""


def until_done(
    work: Callable[[], Result],
    stop: threading.Event,
    source: str,
    metrics: OutputMetrics,
    *,
    never: Errors = (),
    also: Errors = (),
) -> Result:
    """Do `work` for `source` until it succeeds. Raises GivenUp when `stop` is set while it would wait.

    Errors of the classes `never` are raised; those of `also` are retried beside the usual ones.
    """
    delays = backoff.delays(first=0.05, most=LONGEST_WAIT)
    outage = Outage()
    retried: Errors = (DestinationUnavailable, DestinationMisconfigured, DocumentRefused, *also)
    while True:
        try:
            done = work()
        except never as error:
            metrics.refused(reason_of(error))
            raise
        except retried as error:
            seconds = max(next(delays), error.pause)
            loudness = logging.WARNING if isinstance(error, DestinationUnavailable) else logging.ERROR
            hint = f" {error.hint}" if error.hint else ""
            # What a refusal says may quote the document.
            is_quoting = isinstance(error, DocumentRefused)
            reason = f"refused ({error.code})" if is_quoting else str(error).rstrip(".")
            said = error.code if is_quoting else sentences(error)
            outage.failed()
            log.log(
                loudness,
                "%s: %s; next try in %.2g s.%s",
                source,
                reason,
                seconds,
                hint,
                extra=fields(
                    event="delivery_failed",
                    source=source,
                    code=error.code or None,
                    error=said,
                    attempts=outage.attempts,
                    pause_seconds=seconds,
                ),
            )
            metrics.failed(said, serious=loudness == logging.ERROR, reason=reason_of(error))
            if stop.wait(seconds):
                raise GivenUp from None
        else:
            metrics.answered()
            if lasted := outage.over():
                log.info(
                    "%s: delivers again after %.1f s and %d tries in vain",
                    source,
                    lasted.seconds,
                    lasted.attempts,
                    extra=fields(
                        event="delivery_recovered",
                        source=source,
                        attempts=lasted.attempts,
                        duration_seconds=lasted.seconds,
                    ),
                )
            return done


def refusal_of(
    work: Callable[[], object],
    stop: threading.Event,
    source: str,
    metrics: OutputMetrics,
    blaming: Errors,
) -> DeliveryError | None:
    """Do `work` until it succeeds or fails with an error of the classes `blaming`, which is returned.

    Raises GivenUp.
    """
    try:
        until_done(work, stop, source, metrics, never=blaming)
    except blaming as refusal:
        return refusal
    return None
