"""How far an input has read a file of dead letters, out of which an operator may take letters meanwhile.

Bytes alone say nothing in a file that was replaced, and neither does an inode, which the next file may get
again. So a place names the letter that it comes after. Where that is gone, reading goes on after the last
letter with a smaller number: numbers only grow.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import msgspec

from cht_sync.files import private_folder, write_atomically
from cht_sync.pipeline.dead_letters.line import id_of_line, number_of
from cht_sync.pipeline.replay.sincedb import Sincedb


@dataclass(frozen=True)
class Place:
    """Behind the line `id`, which has `length` bytes and ends at byte `position`, its end included.

    `number` is the greatest one of a letter up to there. At the start of a file there is nothing of it.
    """

    position: int = 0
    length: int = 0
    id: str = ""
    number: int = 0

    def after(self, line: bytes) -> Place:
        """Return the place behind one more line, which is given without its end."""
        id, length = id_of_line(line), len(line) + 1
        return Place(self.position + length, length, id, max(self.number, number_of(id) or 0))

    def found_in(self, file: BinaryIO) -> Place:
        """Return where to read on in this file. Raises OSError."""
        if self.position <= os.fstat(file.fileno()).st_size and (not self.id or self._ends_here(file)):
            return self
        return self._sought_in(file)

    def _ends_here(self, file: BinaryIO) -> bool:
        line = os.pread(file.fileno(), self.length, self.position - self.length)
        return line.endswith(b"\n") and id_of_line(line) == self.id

    def _sought_in(self, file: BinaryIO) -> Place:
        place = found = Place()
        file.seek(0)
        for line in file:
            if not line.endswith(b"\n"):
                break
            place = place.after(line[:-1])
            if place.number > self.number:
                break
            # Lines without a number are older than all that have one.
            if self.number or place.id == self.id:
                found = place
        return replace(found, number=max(found.number, self.number))


class SavedPlace:
    """A place in the file `letters`, kept in a file of ours; one that is no plain file keeps nothing."""

    def __init__(self, path: Path, letters: Path) -> None:
        self._path = path
        self._letters = letters

    def load(self) -> Place:
        """Return what was kept, the start where nothing was. Raises OSError."""
        if not self._path.is_file():
            return Place()
        text = self._path.read_bytes()
        try:
            return msgspec.json.decode(text, type=dict[str, Place]).get(str(self._letters), Place())
        except msgspec.DecodeError:
            return self._of_an_earlier_version()

    def move(self, place: Place) -> None:
        """Keep a place, durably. Raises OSError."""
        if self._path.exists() and not self._path.is_file():
            return
        if not self._path.parent.exists():
            private_folder(self._path.parent)
        write_atomically(self._path, msgspec.json.encode({str(self._letters): asdict(place)}) + b"\n")

    def _of_an_earlier_version(self) -> Place:
        """What Logstash's sincedb of files says: bytes of an inode."""
        earlier = Sincedb(self._path)
        earlier.load()
        try:
            return Place(earlier.position(self._letters, self._letters.stat()))
        except FileNotFoundError:
            return Place()
