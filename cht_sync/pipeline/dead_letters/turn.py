"""One at a time: who appends to a file of dead letters, or replaces it, holds its lock file.

The lock file stays where it is while the file itself is replaced, and the kernel lets go of it when its
holder dies. It also keeps the number of the last letter, so that a number never comes twice.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cht_sync.errors import ChtSyncError
from cht_sync.files import OWNER_ONLY_FILE
from cht_sync.pipeline.dead_letters.line import id_of_line, number_of

_LONGEST_NUMBER = 20


class Turn:
    """Held by one process; `path` is the file, links followed."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def numbers(self, count: int) -> range:
        """Take the numbers of so many new letters, above all that were taken before. Raises OSError."""
        kept = os.pread(self._descriptor, _LONGEST_NUMBER, 0).strip()
        last = int(kept) if kept.isdigit() else last_number(self.path)
        first = max(time.time_ns() // 1_000, last + 1)
        numbers = range(first, first + count)
        os.pwrite(self._descriptor, b"%-20d" % numbers[-1], 0)
        return numbers


def last_number(path: Path) -> int:
    """Return the greatest number of a letter in the file, 0 where none has one. Raises OSError."""
    try:
        with path.open("rb") as file:
            return max((number_of(id_of_line(line)) or 0 for line in file), default=0)
    except FileNotFoundError:
        return 0


@contextmanager
def turn_at(path: Path) -> Iterator[Turn]:
    """Wait for the turn to change a file, in a folder that is there. Raises OSError."""
    real = Path(os.path.realpath(path))
    descriptor = _locked(_beside(real, "lock"))
    try:
        yield Turn(real, descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def only_operator_of(path: Path) -> Iterator[None]:
    """Hold the right to settle letters of this file. Raises ChtSyncError where another process does."""
    lock = _beside(Path(os.path.realpath(path)), "operator")
    descriptor = _open(lock)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ChtSyncError(
                f"letters of {path} are being replayed or dropped by another process",
                hint="Wait until that has ended, and look what is left with: cht-sync dead-letters list",
            ) from None
        yield
    finally:
        os.close(descriptor)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{ending}")


def _locked(lock: Path) -> int:
    while True:
        descriptor = _open(lock)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        except FileNotFoundError:
            pass  # somebody has removed the folder while we waited
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(lock: Path) -> int:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, OWNER_ONLY_FILE)
    owner = lock.parent.stat()
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid != owner.st_uid:
        # Left by root, it would shut out the engine, which runs as the owner of the folder.
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor
