"""How far a command is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

TELL_EVERY = 10.0
"""Seconds between two lines, at least."""


def bar() -> Progress:
    """A progress bar on standard error; silent where nobody looks."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


class Lines:
    """Lines on standard error, where no terminal shows a bar; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told_at = clock()

    def tell(self, words: Callable[[], str]) -> None:
        """Print what `words` returns, unless a line was printed a moment ago."""
        if not sys.stderr.isatty() and self._clock() - self._told_at >= TELL_EVERY:
            self._told_at = self._clock()
            click.echo(words(), err=True)
