"""Ctrl-C in the very moment at which a query is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from psycopg2.extensions import POLL_OK, POLL_READ

from cht_sync.reconcile import interrupt


class DoneAsItIsCancelled:
    """In place of a connection: its query ends by itself, however it is cancelled."""

    def __init__(self) -> None:
        self._states = iter((POLL_READ, POLL_OK))
        self.cancelled = 0

    def poll(self) -> int:
        return next(self._states)

    def fileno(self) -> int:
        raise KeyboardInterrupt

    def cancel(self) -> None:
        self.cancelled += 1


def test_an_interrupt_counts_although_the_query_was_done_before_it_could_be_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    callbacks: list[Callable[[Any], None] | None] = []
    monkeypatch.setattr(interrupt, "set_wait_callback", callbacks.append)
    connection = DoneAsItIsCancelled()
    with pytest.raises(KeyboardInterrupt), interrupt.interruptible_queries():
        (wait,) = callbacks
        assert wait is not None
        wait(connection)
    assert connection.cancelled == 1
    assert callbacks[-1] is None
