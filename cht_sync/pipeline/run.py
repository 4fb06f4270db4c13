"""Running pipelines side by side until all have ended; one that fails leaves the others at work.

Source: Logstash, which does the same and then ends with 0; here a failure is raised when all have ended.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cht_sync.pipeline.named_pipeline import NamedPipeline
from cht_sync.pipeline.running import RunningPipeline, described

log = logging.getLogger(__name__)

STEP = 0.2
"""Seconds after which a signal is noticed at the latest."""


def run_pipelines(
    pipelines: Sequence[NamedPipeline], stop: threading.Event, reload: Reload | None = None
) -> None:
    """Run pipelines side by side until all have ended or `stop` is set; `reload` may replace some meanwhile.

    One that fails is tried again for as long as there is something to wait for: another that works, a failure
    that may heal, a reload. Raises the failure of the first that is not at work again by then.
    """
    woken = threading.Event()

    def make(named: NamedPipeline) -> RunningPipeline:
        return RunningPipeline(named, woken)

    running = [make(named) for named in pipelines]
    try:
        for one in running:
            one.start()
        while _any_alive(running) or (not stop.is_set() and _is_waited_for(running, reload)):
            # In short steps, so that a signal reaches the main thread.
            woken.wait(STEP)
            woken.clear()
            if stop.is_set():
                _stop_in_turn(running)
                continue
            for one in running:
                one.look_after()
            if reload is not None and (change := reload.look({one.named.id: one for one in running}, make)):
                running = _apply(change, running, stop)
    except KeyboardInterrupt:
        raise  # abandoned: nobody waits for what does not answer
    except BaseException:
        _close(running)
        raise
    _close(running)
    failures = [failure for one in running if (failure := one.last_failure()) is not None]
    if failures:
        raise failures[0]


@dataclass(frozen=True)
class Change:
    """What a reload does: pipelines that go, and those that come, in the place of others or new."""

    leaving: Sequence[RunningPipeline]
    coming: Sequence[RunningPipeline]
    show: Callable[[], None]
    """Called between the two: tells the monitoring API."""


Make = Callable[[NamedPipeline], RunningPipeline]
"""Prepares a pipeline. Raises ConfigError."""


class Reload(Protocol):
    """Looks from time to time whether other pipelines are wanted."""

    keeps_on: bool
    """Whether pipelines may come when all have ended."""

    def look(self, running: Mapping[str, RunningPipeline], make: Make) -> Change | None:
        """Return what is to change, None for nothing; `make` makes what comes."""


def _apply(
    change: Change, running: Sequence[RunningPipeline], stop: threading.Event
) -> list[RunningPipeline]:
    """Stop what goes, in order, then start what comes: each begins where the other has ended."""
    failed_before = [one for one in change.leaving if one.failure is not None]
    while _any_alive(change.leaving):
        for one in change.leaving:
            one.ask_to_stop()
        threading.Event().wait(STEP / 4)
    for one in change.leaving:
        one.close()
        if one.failure is not None and one not in failed_before:
            said = described(one.failure)
            log.error("pipeline %s: ended with an error while it was stopped: %s", one.named.id, said)
    change.show()
    for one in change.coming:
        if not stop.is_set():
            one.start()
    return [*(one for one in running if one not in change.leaving), *change.coming]


def _stop_in_turn(running: Sequence[RunningPipeline]) -> None:
    """Ask each to stop that no living one sends to: what is between two of them arrives."""
    awaited = {address for one in running if one.is_alive() for address in one.named.sends_to}
    for one in running:
        if awaited.isdisjoint(one.named.listens_at):
            one.ask_to_stop()


def _is_waited_for(running: Sequence[RunningPipeline], reload: Reload | None) -> bool:
    """Whether there will be something to do although nobody is at work."""
    return (reload is not None and reload.keeps_on) or any(one.may_heal() for one in running)


def _any_alive(running: Sequence[RunningPipeline]) -> bool:
    return any(one.is_alive() for one in running)


def _close(running: Sequence[RunningPipeline]) -> None:
    for one in running:
        one.close()
