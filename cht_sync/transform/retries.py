"""Models that fail: left out of the runs that data triggers, and tried again on their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cht_sync.transform.pace import new_retries
from cht_sync.transform.results import NodeResult, RunOutcome

RETRIED = frozenset({"model", "seed", "snapshot"})
"""Kinds of nodes that can be selected by their name; where another one fails, dbt as a whole does."""


@dataclass(frozen=True)
class Failing:
    """A model that fails: since when, with what it failed last, and when it is tried again (UTC).

    `retry_at` is None where nobody tries again by itself.
    """

    node: NodeResult
    since: datetime
    retry_at: datetime | None


@dataclass
class _Waiting:
    failing: Failing
    due: float
    delays: Iterator[float]
    full_refresh: bool


class Retries:
    """What fails now. Times are those of one monotonic clock, in seconds; `first` is the first wait.

    Selectors are dbt's: each is a model that fails, and all that reads it.
    """

    def __init__(self, first: float) -> None:
        self._first = first
        self._waiting: dict[str, _Waiting] = {}
        self._not_tried: dict[str, str] = {}

    @property
    def not_tried(self) -> tuple[str, ...]:
        """The names of models that stand still because they read what fails."""
        return tuple(self._not_tried.values())

    @property
    def failing(self) -> tuple[Failing, ...]:
        return tuple(one.failing for one in self._waiting.values())

    def all(self) -> tuple[str, ...]:
        """Selectors of everything that fails."""
        return self._selectors(self._waiting)

    def any_due(self, now: float) -> bool:
        """Whether something is to be tried now."""
        return any(now >= one.due for one in self._waiting.values())

    def due(self, now: float, *, full_refresh: bool) -> tuple[str, ...]:
        """Selectors of what is to be tried now, among those that are to be built anew or the others."""
        return self._selectors(
            id for id, one in self._waiting.items() if now >= one.due and one.full_refresh == full_refresh
        )

    def others(self, selectors: Iterable[str]) -> tuple[str, ...]:
        """Selectors of everything else that fails."""
        chosen = set(selectors)
        return tuple(one for one in self.all() if one not in chosen)

    def note(
        self,
        outcome: RunOutcome,
        *,
        now: float,
        at: datetime,
        tried: Collection[str] = (),
        full_refresh: bool = False,
    ) -> None:
        """Take note of a run that ended at `now`, which is `at` in UTC.

        `tried` are the selectors that it was to try; what of them it said nothing about waits again.
        """
        for node in outcome.nodes:
            if node.status == "success":
                self._waiting.pop(node.unique_id, None)
            if node.status == "skipped":
                self._not_tried[node.unique_id] = node.name
            else:
                self._not_tried.pop(node.unique_id, None)
        for node in outcome.failures:
            if node.kind in RETRIED:
                self._wait(node, now, at, full_refresh)
        told = {node.unique_id for node in outcome.failures}
        for one in list(self._waiting.values()):
            node = one.failing.node
            if node.unique_id not in told and _selector(node) in tried:
                self._wait(node, now, at, one.full_refresh)

    def built_elsewhere(self, unique_ids: Collection[str], now: float) -> None:
        """Somebody else has built these models since they failed here: they are to be tried at once."""
        for unique_id in unique_ids:
            if one := self._waiting.get(unique_id):
                one.due = now

    def reset(self) -> None:
        """Forget all: the next run tries everything."""
        self._waiting.clear()
        self._not_tried.clear()

    def _wait(self, node: NodeResult, now: float, at: datetime, full_refresh: bool) -> None:
        before = self._waiting.get(node.unique_id)
        delays = before.delays if before else new_retries(self._first)
        seconds = next(delays)
        since = before.failing.since if before else at
        self._waiting[node.unique_id] = _Waiting(
            Failing(node, since, at + timedelta(seconds=seconds)),
            now + seconds,
            delays,
            full_refresh or (before is not None and before.full_refresh),
        )

    def _selectors(self, ids: Iterable[str]) -> tuple[str, ...]:
        return tuple(_selector(self._waiting[id].failing.node) for id in ids)


def dbt_failed(outcome: RunOutcome) -> bool:
    """Whether something failed that belongs to no model: dbt itself, or a hook."""
    return any(node.kind not in RETRIED for node in outcome.failures)


def _selector(node: NodeResult) -> str:
    return f"{node.name}+"
