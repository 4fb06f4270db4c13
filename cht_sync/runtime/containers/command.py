"""One of our own commands in a container inside the network, which lives no longer than whoever waits for it.

Compose (2.26) gives up its own command at a signal and leaves the container at work, where nobody sees it. So
signals are taken here, and the container is stopped in order.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from cht_sync import process
from cht_sync.errors import ChtSyncError
from cht_sync.runtime.containers.compose import Compose

TOOL = "cht-sync"
"""The service that is the command line inside the network."""
STOP_TIMEOUT = 30.0
SIGNALLED = 128
"""A shell's exit code for what a signal has ended, without the signal's number."""


def run(compose: Compose, arguments: Sequence[str], output: Path | None = None) -> int:
    """Run a command with our terminal, if there is one; return its exit code, or that of a signal to us.

    What such a command writes for people is written as whoever we are: into the checkout, or into the folder
    `output` of this machine, which has the same path inside.
    """
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    name = f"{compose.project}-{TOOL}-{os.getpid()}-{secrets.token_hex(4)}"
    words = compose.tool(TOOL, *arguments, name=name, terminal=terminal, options=_options(arguments, output))
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        with contextlib.suppress(ChtSyncError):
            process.run(["docker", "stop", name], timeout=STOP_TIMEOUT)

    # In a terminal Ctrl-C reaches the command itself, through the engine.
    handlers = {
        signal.SIGTERM: stop,
        signal.SIGHUP: stop,
        signal.SIGINT: signal.SIG_IGN if terminal else stop,
    }
    with compose.child(words, new_session=not terminal) as child:
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            code = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return SIGNALLED + received[0] if received else code


def printed(compose: Compose, arguments: Sequence[str], timeout: float) -> str:
    """Run a command to its end and return what it printed. Raises ChtSyncError."""
    return compose.run(*compose.tool(TOOL, *arguments), timeout=timeout)


def _options(arguments: Sequence[str], output: Path | None) -> list[str]:
    ours = output is not None or tuple(arguments[:2]) == ("forms", "write")
    return [
        *(() if output is None else ("--volume", f"{output}:{output}")),
        *(("--user", f"{os.getuid()}:{os.getgid()}") if ours else ()),
    ]
