"""Branches at work: conditions decide which filters see an event and which outputs get it.

A condition that has no answer for an event counts as false, and the event is tagged
`_condition_failure`; it goes on, through `else` where there is one. An event that a filter cannot work on,
and that has no other tag for that, passes with the tag `_filter_failure`. The first failure of each condition
and of each filter is logged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from cht_sync.pipeline.config.conditions import Test
from cht_sync.pipeline.config.problems import Place
from cht_sync.pipeline.contracts import Filter, Output
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.monitor.metrics import PluginMetrics

FAILURE_TAG = "_condition_failure"
FILTER_FAILURE_TAG = "_filter_failure"

Chain = Callable[[list[Event]], list[Event]]
Route = Callable[[list[Event]], list[tuple[Output, list[Event]]]]
Choose = Callable[[Event], Sequence[Output]]

log = logging.getLogger(__name__)


def chain(steps: Sequence[Chain]) -> Chain:
    """Return filters and branches as one function over all events of a batch, in order."""

    def through(events: list[Event]) -> list[Event]:
        for step in steps:
            events = step(events)
        return events

    return through


def counted(apply: Filter, metrics: PluginMetrics) -> Chain:
    """Return a filter as a function over many events, which counts them."""

    logged = False

    def failed(event: Event, failure: Exception) -> Event:
        nonlocal logged
        event.tag(FILTER_FAILURE_TAG)
        if not logged:
            logged = True
            # The text of the failure may hold what is in the event.
            log.warning(
                "filter %s (%s) could not work on an event, which is tagged %s (%s)",
                metrics.name,
                metrics.id,
                FILTER_FAILURE_TAG,
                type(failure).__name__,
            )
        return event

    def step(events: list[Event]) -> list[Event]:
        began = time.perf_counter_ns()
        passed: list[Event] = []
        for event in events:
            try:
                passed.extend(apply(event))
            except (ValueError, RecursionError) as failure:
                passed.append(failed(event, failure))
        metrics.worked(len(events), len(passed), time.perf_counter_ns() - began)
        return passed

    return step


def guarded(test: Test, place: Place) -> Test:
    """Return the condition with failures taken as false."""
    logged = False

    def decide(event: Event) -> bool:
        nonlocal logged
        try:
            return test(event)
        except (ValueError, RecursionError) as failure:
            # A ConditionFailure, or a document that cannot be decoded or is nested too deeply.
            event.tag(FAILURE_TAG)
            if not logged:
                logged = True
                log.warning(
                    "%s:%s:%s: condition taken as false, event tagged %s: %s",
                    *place,
                    FAILURE_TAG,
                    failure,
                )
            return False

    return decide


def branch(cases: Sequence[tuple[Test, Chain]], otherwise: Chain | None) -> Chain:
    """Return a function that hands each event to the first case whose condition holds.

    Events that follow one another into the same case go through it together; their order stays.
    """
    last = otherwise or chain(())

    def choose(event: Event) -> Chain:
        for test, case in cases:
            if test(event):
                return case
        return last

    def decide(events: list[Event]) -> list[Event]:
        passed: list[Event] = []
        share: list[Event] = []
        chosen = last
        for event in events:
            case = choose(event)
            if case is not chosen:
                if share:
                    passed += chosen(share)
                chosen, share = case, []
            share.append(event)
        return passed + chosen(share) if share else passed

    return decide


def always(output: Output) -> Choose:
    """Return the choice of one output."""
    chosen = (output,)
    return lambda _event: chosen


def choose_all(choices: Sequence[Choose]) -> Choose:
    """Return the choices one after another."""
    return lambda event: [output for choose in choices for output in choose(event)]


def choose_by(cases: Sequence[tuple[Test, Choose]], otherwise: Choose | None) -> Choose:
    """Return the choice of the first case whose condition holds."""

    def choose(event: Event) -> Sequence[Output]:
        for test, case in cases:
            if test(event):
                return case(event)
        return otherwise(event) if otherwise is not None else ()

    return choose


def unconditional(outputs: Sequence[Output]) -> Route:
    """Return the route of a configuration without conditions: every output gets the batch's own list."""
    return lambda events: [(output, events) for output in outputs]


def conditional(outputs: Sequence[Output], choose: Choose) -> Route:
    """Return a route that gives each output, in the order of the configuration, its events, maybe none."""

    def route(events: list[Event]) -> list[tuple[Output, list[Event]]]:
        shares: dict[int, list[Event]] = {id(output): [] for output in outputs}
        for event in events:
            for output in choose(event):
                shares[id(output)].append(event)
        return [(output, shares[id(output)]) for output in outputs]

    return route
