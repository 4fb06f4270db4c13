"""What is done with an outcome: it is told in the log, counted, and kept in PostgreSQL."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial

import psycopg2
from psycopg2.extensions import connection as Connection

from cht_sync.transform.freshness import Freshness
from cht_sync.transform.history import History
from cht_sync.transform.metrics import Metrics
from cht_sync.transform.results import RunOutcome
from cht_sync.transform.retries import Failing

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
        _tell(outcome)
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


def _tell(outcome: RunOutcome) -> None:
    what = "tests" if outcome.command == "test" else "models"
    for failure in outcome.failures:
        place = f" (SQL: {failure.compiled_path})" if failure.compiled_path else ""
        log.error("%s failed: %s%s", failure.name, " ".join(failure.message.split()), place)
    for node in outcome.nodes:
        if node.status == "warn":
            log.warning("%s warns: %s", node.name, " ".join(node.message.split()))
    if outcome.succeeded:
        log.info("%d %s in %.1f s", outcome.built, what, outcome.seconds)
        return
    log.error(
        "%d %s in %.1f s, %d failed, %d not tried",
        outcome.built,
        what,
        outcome.seconds,
        len(outcome.failures),
        len(outcome.skipped),
    )
