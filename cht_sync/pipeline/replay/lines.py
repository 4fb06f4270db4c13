"""The lines of one file, from where it was left, in portions that fit into memory."""

from __future__ import annotations

import gzip
import os
import zlib
from collections import deque
from pathlib import Path
from typing import IO

from cht_sync.pipeline.units import Units

ARCHIVES = (".gz", ".gzip")
NO_LIMIT = 1 << 62


class FileLines:
    """One open file. `position` is the place after the lines given so far; `broken` says what is wrong with
    an archive that cannot be read to its end.

    An archive is always read from its start, and its position is 0 until all of it was given: then it is
    the size of the file, as Logstash keeps it.
    """

    def __init__(self, path: Path, position: int, delimiter: bytes, chunk_size: int) -> None:
        self.path = path
        self.is_archive = path.suffix in ARCHIVES
        self.position = position
        self.ended = False
        self.broken: str | None = None
        self.unfinished = False
        """Whether the last one of the lines given has no delimiter."""
        self._has_rest = False
        self._delimiter = delimiter
        self._chunk_size = chunk_size
        self._units = Units(delimiter, NO_LIMIT)
        self._ready: deque[bytes] = deque()
        self._raw = path.open("rb")
        self.status = os.fstat(self._raw.fileno())
        self._file: IO[bytes] | gzip.GzipFile = self._raw
        self._at_end = self.is_archive and position == self.status.st_size > 0
        if self.is_archive:
            self._file = gzip.GzipFile(fileobj=self._raw)
        else:
            self._file.seek(position)

    def portion(self, most_lines: int, most_bytes: int) -> list[bytes]:
        """Return the next lines; `ended` is set with the last ones, or after them. Raises OSError."""
        lines: list[bytes] = []
        size = 0
        while len(lines) < most_lines and size < most_bytes:
            if not self._ready and not self._fill():
                self.ended = True
                break
            lines.append(self._ready.popleft())
            size += len(lines[-1])
        self.unfinished = self._has_rest and not self._ready
        self._move(lines)
        return lines

    def close(self) -> None:
        self._raw.close()

    def _fill(self) -> bool:
        while not self._ready and not self._at_end:
            data = self._chunk()
            if data:
                self._ready.extend(self._units.feed(data))
            else:
                self._at_end = True
                rest = self._units.rest()
                self._has_rest = bool(rest)
                self._ready.extend([rest] if rest else [])
        return bool(self._ready)

    def _chunk(self) -> bytes:
        if not self.is_archive:
            return self._file.read(self._chunk_size)
        try:
            return self._file.read(self._chunk_size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.broken = str(error)
            return b""

    def _move(self, lines: list[bytes]) -> None:
        if self.is_archive:
            self.position = self.status.st_size if self.ended else 0
            return
        self.position += sum(map(len, lines)) + len(lines) * len(self._delimiter)
        if self._at_end and not self._ready:
            # The last line may have no delimiter.
            self.position = self._file.tell()


def is_whole_archive(path: Path) -> bool:
    """Whether an archive can be read to its end. Raises OSError."""
    try:
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False
    return True
