"""What is done with an outcome: it is told in the log, counted, and kept in PostgreSQL."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection

from cht_sync import logs
from cht_sync.transform.freshness import Freshness
from cht_sync.transform.history import History
from cht_sync.transform.metrics import Metrics
from cht_sync.transform.results import NodeResult, RunOutcome
from cht_sync.transform.retries import RETRIED, Failing

MOST_UNRECORDED = 100
"""Outcomes that are kept until PostgreSQL is back."""

log = logging.getLogger(__name__)


class Recorder:
    """Tells of outcomes; what PostgreSQL could not take because it went away is recorded when it is back."""

    def __init__(self, history: History, metrics: Metrics) -> None:
        self._history = history
        self._metrics = metrics
        self._left: deque[Callable[[Connection], None]] = deque(maxlen=MOST_UNRECORDED)

    def record(
        self,
        connection: Connection,
        outcome: RunOutcome,
        *,
        failing: Collection[Failing] = (),
        not_tried: Collection[str] = (),
        freshness: Freshness | None = None,
        until: datetime | None = None,
        package_note: str = "",
    ) -> None:
        """Take an outcome without values; the rest as in `History.record`.

        Raises psycopg2.Error where the connection is lost.
        """
        _tell(outcome, freshness)
        if outcome.command == "test":
            self._metrics.tested(outcome)
        else:
            self._metrics.ran(outcome, failing=failing, freshness=freshness)
        self._left.append(
            partial(
                self._history.record,
                outcome=outcome,
                failing=failing,
                not_tried=not_tried,
                freshness=freshness,
                until=until,
                package_note=package_note,
            )
        )
        self.catch_up(connection)

    def catch_up(self, connection: Connection) -> None:
        """Record what could not be recorded before. Raises psycopg2.Error where the connection is lost."""
        while self._left:
            try:
                self._left[0](connection)
            except psycopg2.Error as error:
                if connection.closed:
                    raise
                log.error("the results of a run cannot be kept: %s", first_line(error))
            self._left.popleft()


def first_line(error: psycopg2.Error) -> str:
    """What libpq or the server said, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _tell(outcome: RunOutcome, freshness: Freshness | None) -> None:
    what = "tests" if outcome.command == "test" else "models"
    for failure in outcome.failures:
        place = f" (SQL: {failure.compiled_path})" if failure.compiled_path else ""
        said = " ".join(failure.message.split())
        log.error("%s failed: %s%s", failure.name, said, place, extra=_failed(failure, said))
    for node in outcome.nodes:
        if node.status == "warn":
            said = " ".join(node.message.split())
            extra = logs.fields(event="test_warned", test=node.name, error=said)
            log.warning("%s warns: %s", node.name, said, extra=extra)
    figures = logs.fields(
        event="tests_ran" if outcome.command == "test" else "models_ran",
        models=None if outcome.command == "test" else outcome.built,
        tests=outcome.built if outcome.command == "test" else None,
        failed=len(outcome.failures),
        not_tried=len(outcome.skipped),
        duration_seconds=outcome.seconds,
        result="success" if outcome.succeeded else "failed",
        documents=None if freshness is None else freshness.documents,
    )
    if outcome.succeeded:
        log.info("%d %s in %.1f s", outcome.built, what, outcome.seconds, extra=figures)
        return
    log.error(
        "%d %s in %.1f s, %d failed, %d not tried",
        outcome.built,
        what,
        outcome.seconds,
        len(outcome.failures),
        len(outcome.skipped),
        extra=figures,
    )


def _failed(failure: NodeResult, said: str) -> dict[str, Any]:
    if failure.kind == "test":
        return logs.fields(event="test_failed", test=failure.name, error=said)
    if failure.kind in RETRIED:
        return logs.fields(event="model_failed", model=failure.name, error=said)
    return logs.fields(event="dbt_failed", error=said)
