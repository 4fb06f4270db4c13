"""Where the pipelines of one process meet: the input `pipeline` listens, the output `pipeline` sends.

A sender waits until the listening pipeline has delivered its batch, so a batch of one pipeline is
acknowledged only when the next one has all of it. Nothing is queued: each sender has one batch under way.
"""

from __future__ import annotations

import difflib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cht_sync.errors import ConfigError
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.monitor.metrics import OutputMetrics

log = logging.getLogger(__name__)

LOOK_AGAIN = 0.2
"""Seconds between two looks whether the sender is to stop."""
GRACE = 10.0
"""Seconds that a sender that is to stop leaves the other pipeline to deliver what it has taken."""
MISSING_AFTER = 10.0
"""Seconds without a listener, as while one is replaced, before it is said that there is none."""
SAY_AGAIN = 60.0
"""Seconds after which that is said once more."""


@dataclass(eq=False)
class Delivery:
    """A batch on its way from one pipeline to another."""

    events: Sequence[Event]
    taken: bool = False
    delivered: bool = False

    def copies(self) -> list[Event]:
        """The events for the other pipeline: whatever it does to them, they can be sent once more."""
        return [event.clone() for event in self.events]


class Addresses:
    """The addresses of one process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._listeners: dict[str, object] = {}
        self._waiting: dict[str, deque[Delivery]] = {}
        self._taken: dict[str, list[Delivery]] = {}
        self._ending: set[object] = set()
        """Listeners that deliver what they have taken, or leave it, and go."""

    def listen(self, address: str, listener: object) -> None:
        """Make `listener` the one that takes what is sent there. Raises ConfigError where there is one."""
        with self._changed:
            if self._listeners.setdefault(address, listener) is not listener:
                raise ConfigError(
                    f'another pipeline listens at the address "{address}"',
                    hint="Give each input pipeline an address of its own.",
                )
            self._changed.notify_all()

    def leave(self, address: str, listener: object) -> None:
        """Stop listening; what was taken and not delivered waits for the next listener."""
        with self._changed:
            if self._listeners.get(address) is not listener:
                return
            del self._listeners[address]
            self._ending.discard(listener)
            for delivery in reversed(self._taken.pop(address, [])):
                delivery.taken = False
                self._waiting.setdefault(address, deque()).appendleft(delivery)
            self._changed.notify_all()

    def take(self, address: str, stop: threading.Event, timeout: float) -> Delivery | None:
        """Wait for a batch; None after `timeout` seconds, or once `stop` is set."""
        until = time.monotonic() + timeout
        with self._changed:
            while not self._waiting.get(address):
                left = until - time.monotonic()
                if stop.is_set() or left <= 0:
                    return None
                self._changed.wait(left)
            delivery = self._waiting[address].popleft()
            delivery.taken = True
            self._taken.setdefault(address, []).append(delivery)
            return delivery

    def done(self, address: str, delivery: Delivery) -> None:
        """The listening pipeline has delivered all of it."""
        with self._changed:
            if delivery in self._taken.get(address, []):
                self._taken[address].remove(delivery)
                delivery.delivered = True
                self._changed.notify_all()

    def end(self, address: str, listener: object) -> None:
        """The listener is to stop: its `take` looks again, and senders wait for what it has taken."""
        with self._changed:
            if self._listeners.get(address) is listener:
                self._ending.add(listener)
            self._changed.notify_all()

    def send(
        self, address: str, events: Sequence[Event], stop: threading.Event, metrics: OutputMetrics
    ) -> bool:
        """Wait until the listener has delivered the events; False when `stop` was set before that.

        Where nobody listens it waits; when that lasts, the log and the sender's metrics say so.
        """
        delivery = Delivery(events)
        say_at: float | None = None
        leave_at: float | None = None
        with self._changed:
            self._waiting.setdefault(address, deque()).append(delivery)
            self._changed.notify_all()
            while not delivery.delivered:
                if stop.is_set():
                    leave_at = leave_at or time.monotonic() + GRACE
                    listener = self._listeners.get(address)
                    nobody_comes = listener is None and not delivery.taken
                    is_late = time.monotonic() >= leave_at and listener not in self._ending
                    if nobody_comes or is_late:
                        self._withdraw(address, delivery)
                        log.warning(
                            'stopped while what was sent to the address "%s" waits; it is not acknowledged',
                            address,
                        )
                        return False
                if address in self._listeners:
                    say_at = None
                    metrics.answered()
                elif say_at is None:
                    say_at = time.monotonic() + MISSING_AFTER
                elif time.monotonic() >= say_at and not stop.is_set():
                    metrics.waits(self._say_nobody(address), serious=True)
                    say_at = time.monotonic() + SAY_AGAIN
                self._changed.wait(LOOK_AGAIN)
        metrics.answered()
        return True

    def _withdraw(self, address: str, delivery: Delivery) -> None:
        """Nobody waits for it any more; it is sent again by the next run."""
        if delivery.taken:
            self._taken[address].remove(delivery)
        else:
            self._waiting[address].remove(delivery)

    def _say_nobody(self, address: str) -> str:
        near = difflib.get_close_matches(address, list(self._listeners), n=1)
        meant = f'; did you mean "{near[0]}"?' if near else ""
        problem = (
            f'no pipeline listens at the address "{address}"{meant}; events wait until one with '
            f'input {{ pipeline {{ address => "{address}" }} }} runs'
        )
        log.error("%s", problem)
        return problem


def problems_of(
    listening: Mapping[str, Iterable[str]], sending: Mapping[str, Iterable[str]]
) -> list[ConfigError]:
    """Say what cannot work among pipelines: addresses by the id of the pipeline that has them.

    Two that listen at one address, and pipelines that send to themselves, in the end, and would wait for
    themselves for ever.
    """
    problems: list[ConfigError] = []
    owners: dict[str, str] = {}
    for pipeline, addresses in listening.items():
        for address in addresses:
            if address in owners:
                problems.append(
                    ConfigError(
                        f"pipelines {owners[address]} and {pipeline} listen at the same address "
                        f'"{address}"; give each input pipeline an address of its own'
                    )
                )
            owners.setdefault(address, pipeline)
    targets = {
        pipeline: {owners[address] for address in addresses if address in owners}
        for pipeline, addresses in sending.items()
    }
    problems += [
        ConfigError(
            f"pipeline {pipeline} sends to itself, by way of pipeline outputs; it would wait for itself"
        )
        for pipeline in targets
        if pipeline in _reached(pipeline, targets)
    ]
    return problems


def _reached(start: str, targets: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    ahead = list(targets.get(start, ()))
    while ahead:
        pipeline = ahead.pop()
        if pipeline not in reached:
            reached.add(pipeline)
            ahead += targets.get(pipeline, ())
    return reached


ADDRESSES = Addresses()
"""Those of this process."""
