"""How far each file was read, in the file that Logstash keeps for that.

A line a file: inode, major and minor number of its device, bytes read, seconds since 1970, path (Logstash's
second version of the format; the first had no time and no path). A file is known by inode and path
together: an inode is used again after its file was deleted, and reading twice is better than never.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

from cht_sync.files import private_folder, write_atomically


@dataclass(frozen=True)
class _Key:
    inode: int
    major: int
    minor: int

    @classmethod
    def of(cls, status: os.stat_result) -> _Key:
        return cls(status.st_ino, os.major(status.st_dev), os.minor(status.st_dev))


@dataclass(frozen=True)
class _Entry:
    position: int
    at: float
    path: str | None


class Sincedb:
    """The positions of one input; a path that is no plain file, such as /dev/null, keeps nothing."""

    def __init__(self, path: Path, clean_after: float = math.inf) -> None:
        """Positions of files that are gone are forgotten after `clean_after` seconds."""
        self._path = path
        self._clean_after = clean_after
        self._entries: dict[_Key, _Entry] = {}

    def load(self) -> None:
        """Read what was saved; lines that are none are passed over. Raises OSError."""
        self._entries = {}
        if not self._path.is_file():
            return
        for line in self._path.read_text(errors="surrogateescape").splitlines():
            fields = line.split(" ", 5)
            try:
                inode, major, minor, position = map(int, fields[:4])
                at = float(fields[4]) if len(fields) > 4 else time.time()
            except ValueError:
                continue
            path = fields[5] if len(fields) > 5 else None
            if path is None or time.time() - at < self._clean_after or Path(path).exists():
                self._entries[_Key(inode, major, minor)] = _Entry(position, at, path)

    def position(self, path: Path, status: os.stat_result) -> int:
        """Return how many bytes of the file were delivered; 0 for one that is new or became shorter."""
        entry = self._entries.get(_Key.of(status))
        if entry is None or entry.path not in (None, str(path)) or entry.position > status.st_size:
            return 0
        return entry.position

    def move(self, path: Path, status: os.stat_result, position: int) -> None:
        """Keep a position, durably. Raises OSError."""
        key, known = _Key.of(status), self._entries.get(_Key.of(status))
        if known is not None and (known.position, known.path) == (position, str(path)):
            return
        self._entries[key] = _Entry(position, time.time(), str(path))
        self._save()

    def forget(self, status: os.stat_result) -> None:
        """The file is gone, and its inode may be used again. Raises OSError."""
        if self._entries.pop(_Key.of(status), None) is not None:
            self._save()

    def _save(self) -> None:
        if self._path.exists() and not self._path.is_file():
            return
        if not self._path.parent.exists():
            private_folder(self._path.parent)
        lines = [
            f"{key.inode} {key.major} {key.minor} {entry.position} {entry.at:.3f} {entry.path or ''}".rstrip()
            for key, entry in self._entries.items()
        ]
        text = "".join(f"{line}\n" for line in lines)
        write_atomically(self._path, text.encode(errors="surrogateescape"))
