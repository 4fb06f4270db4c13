"""Branches at work: conditions decide which filters see an event and which outputs get it.

A condition that has no answer for an event counts as false, and the event is tagged
`_condition_failure`; it goes on, through `else` where there is one. The first failure of each
condition is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from cht_sync.pipeline.config.conditions import Test
from cht_sync.pipeline.config.problems import Place
from cht_sync.pipeline.contracts import Filter, Output
from cht_sync.pipeline.event import Event

FAILURE_TAG = "_condition_failure"

Chain = Callable[[list[Event]], list[Event]]
Route = Callable[[list[Event]], list[tuple[Output, list[Event]]]]
Choose = Callable[[Event], Sequence[Output]]

log = logging.getLogger(__name__)


def chain(filters: Sequence[Filter]) -> Chain:
    """Return the filters as one function over all events of a batch, in order."""
    if not filters:
        return lambda events: events

    def through(events: list[Event]) -> list[Event]:
        for apply in filters:
            passed: list[Event] = []
            for event in events:
                passed.extend(apply(event))
            events = passed
        return events

    return through


def guarded(test: Test, place: Place) -> Test:
    """Return the condition with failures taken as false."""
    logged = False

    def decide(event: Event) -> bool:
        nonlocal logged
        try:
            return test(event)
        except ValueError as failure:
            # A ConditionFailure, or a raw document that cannot be decoded.
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


def branch(cases: Sequence[tuple[Test, Chain]], otherwise: Chain | None) -> Filter:
    """Return a filter that hands each event to the first case whose condition holds."""

    def decide(event: Event) -> Sequence[Event]:
        for test, run in cases:
            if test(event):
                return run([event])
        return otherwise([event]) if otherwise is not None else (event,)

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
