"""Signals: the first asks to drain, the second abandons."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGHUP comes when the terminal is closed."""
STOP, RELOAD = b"s", b"r"


@contextmanager
def stop_on_signals(
    reload: threading.Event | None = None, *, abandons: bool = True
) -> Iterator[threading.Event]:
    """Give an event that the first SIGINT, SIGTERM or SIGHUP sets; a second one raises KeyboardInterrupt.

    Not without `abandons`: for processes that somebody else kills in the end. With `reload`, SIGHUP sets that
    one instead, as often as it comes. The handlers that were there before are restored at the end. Only the
    main thread may call this.
    """
    stop = threading.Event()
    asked = False
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        is_reload = number == signal.SIGHUP and reload is not None
        if asked and abandons and not is_reload:
            raise KeyboardInterrupt
        asked = asked or not is_reload
        # Not `stop.set()`: the handler may have come in the middle of `stop.wait()`, whose lock that needs.
        with contextlib.suppress(BlockingIOError):
            os.write(writing, RELOAD if is_reload else STOP)

    def pass_on() -> None:
        while word := os.read(reading, 1):
            if word == STOP:
                stop.set()
            elif reload is not None:
                reload.set()

    thread = threading.Thread(target=pass_on, name="signals", daemon=True)
    thread.start()
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)
        thread.join()
        os.close(reading)
