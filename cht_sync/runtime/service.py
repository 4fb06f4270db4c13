"""What the embedded runtime knows of a service: how it starts, when it is ready, how it ends."""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

Say = Callable[[str], None]
"""Tells the user what a service is doing, in a few words."""

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""All that a service takes from our own environment: the rest could hold another service's secrets."""


class Service(ABC):
    """One process of the environment.

    `name` is the word used by `--without`, `logs` and `status`. `port` is where it listens on
    loopback, None where it does not.
    """

    name: str
    port: int | None = None
    ends: bool = False
    """Whether it has done its work when it ends with exit code 0, and is not started again."""
    stop_signal: signal.Signals = signal.SIGTERM
    patience: float = 10.0
    """Seconds between the polite signal and the kill."""
    start_timeout: float = 60.0
    """Seconds until it must be ready."""

    def prepare(self, say: Say) -> None:  # noqa: B027 (nothing to do is a good answer)
        """Do what must be done before the start, every time; raises ChtSyncError."""

    @abstractmethod
    def command(self) -> list[str]:
        """The argument list; no secret may be in it."""

    def environment(self) -> Mapping[str, str]:
        """Variables for the process, beside the inherited ones."""
        return {}

    def ready(self) -> bool:
        """Whether it does its work now; True at once where there is nothing to ask.

        Raises ServiceError for what waiting cannot mend, and nothing else.
        """
        return True

    def after_start(self, say: Say) -> None:  # noqa: B027 (nothing to do is a good answer)
        """Do what can only be done once it is ready (databases, roles); raises ChtSyncError."""

    def work_folder(self) -> Path | None:
        """The current folder of the process."""
        return None


def inherited_environment() -> dict[str, str]:
    """The part of our environment that services may see."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}
