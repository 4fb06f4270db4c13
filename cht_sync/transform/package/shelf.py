"""The versions of packages on disk: each whole or not there, and a note of which is the good one."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cht_sync.files import private_folder, sync_folder, write_atomically

VERSIONS_KEPT = 2
"""The good one and the one before, which another process may still be reading."""


@dataclass(frozen=True)
class Kept:
    """A version that is ready to be run: `key` names it and how it was prepared."""

    origin: str
    version: str
    key: str
    folder: str
    note: str = ""


class Shelf:
    """Versions below one folder; every method is for the one who holds `locked`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = folder / "versions"
        self._record = folder / "current.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; the kernel lets go when we end, however we do. Raises OSError."""
        private_folder(self.folder)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def good(self, origin: str) -> Kept | None:
        """Return the last good version of `origin`, if its files are there."""
        try:
            kept = Kept(**json.loads(self._record.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return kept if kept.origin == origin and self.project(kept).is_dir() else None

    def project(self, kept: Kept) -> Path:
        return self._versions / kept.folder

    def add(self, origin: str, version: str, key: str, make: Callable[[Path], str]) -> Kept:
        """Let `make` fill a folder and return a note, and make it the good one.

        Nothing has changed where `make` raises, or where we are killed. Raises OSError.
        """
        private_folder(self._versions)
        for left_over in self._versions.glob(".new-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        name = hashlib.sha256(f"{origin}\0{key}".encode()).hexdigest()[:16]
        new = self._versions / f".new-{os.getpid()}"
        private_folder(new)
        try:
            note = make(new / "project")
            shutil.rmtree(self._versions / name, ignore_errors=True)
            (new / "project").rename(self._versions / name)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        sync_folder(self._versions)
        kept = Kept(origin, version, key, name, note)
        write_atomically(self._record, json.dumps(asdict(kept), indent=2))
        os.utime(self._versions / name)
        self._remove_old()
        return kept

    def _remove_old(self) -> None:
        there = sorted(self._versions.glob("[!.]*"), key=lambda path: path.stat().st_mtime)
        for old in there[:-VERSIONS_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
