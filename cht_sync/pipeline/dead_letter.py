"""Dead letters as lines of a file: the only place for destinations that have no table for them, a second one
beside the table.

One JSON object a line (see `dead_letters.line`), appended and synced to the disk before the batch is
acknowledged. A full file takes no more copies of what a table keeps. Where it is the only place, the pipeline
stops; Logstash loses the newest then (`drop_newer`) or the oldest (`drop_older`). The operator's commands may
replace the file meanwhile: each portion is appended under its lock, to the file that is there then.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cht_sync.errors import DeadLettersFull
from cht_sync.files import OWNER_ONLY_FILE, private_folder, sync_folder
from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.dead_letters.file import file_of
from cht_sync.pipeline.dead_letters.line import Origin, id_of, line_of
from cht_sync.pipeline.dead_letters.turn import Turn, turn_at

log = logging.getLogger(__name__)

MOST_BYTES = 1 << 30
"""Logstash's default of `dead_letter_queue.max_bytes`."""
TAIL = 1 << 22
"""Bytes at the end of the file in which a run looks for what earlier ones appended."""
REMEMBERED = 10_000
"""Letters of this run that are known to have their line."""

_FINGERPRINT = re.compile(rb'"fingerprint":"([0-9a-f]+)"\}\n')
"""At the end of a line; within a text the quotes would be escaped."""


class Refuser(Protocol):
    """What a letter says of the input that refused; its metrics have it. `source` is `<host>/<database>`."""

    kind: str
    name: str
    id: str
    source: str | None


class DeadLetterFile:
    """`dead_letter_queue/<pipeline>.jsonl` below the data folder, or `<pipeline>.jsonl` in `folder`.

    It takes letters until it has `most_bytes`. `origin` is who refuses.
    """

    def __init__(
        self,
        data_folder: Path,
        pipeline_id: str,
        folder: Path | None = None,
        most_bytes: int = MOST_BYTES,
        origin: Origin | None = None,
    ) -> None:
        self._path = file_of(folder or data_folder / "dead_letter_queue", pipeline_id)
        self._most_bytes = most_bytes
        self._origin = origin or Origin(pipeline_id)
        self._known: dict[str, None] | None = None
        self._said_full = False

    def append(self, rejected: Sequence[Rejected], by: Refuser | None = None) -> None:
        """Make all of them durable; `by` refused them, where that is not who is named by the origin.

        Raises DeadLettersFull, and OSError when the disk refuses.
        """
        if not rejected:
            return
        origin = self._origin
        if by is not None:
            database = by.source.partition("/")[2] if by.source else None
            origin = Origin(origin.pipeline, by.kind, by.name, by.id, None, database)
        self._make_folder()
        with turn_at(self._path) as turn:
            if self._is_full():
                raise DeadLettersFull(
                    f"{self._path} has {self._most_bytes} bytes of dead letters and takes no more; "
                    "the pipeline stops rather than lose any",
                    hint="Make room with cht-sync dead-letters replay or drop, or move the file away; or "
                    "raise dead_letter_queue.max_bytes.",
                )
            self._append(turn, [(letter, None) for letter in rejected], origin)

    def append_copies(self, letters: Mapping[str, Rejected]) -> None:
        """Append letters that a table keeps as well, by their fingerprints.

        Those that the end of the file has are left out: what was not acknowledged before a crash is read
        again, and refused again. Nothing is appended to a full file. Raises OSError.
        """
        if self._known is None:
            self._known = self._tail()
        new = {key: letter for key, letter in letters.items() if key not in self._known}
        if not new:
            return
        self._make_folder()
        with turn_at(self._path) as turn:
            full = self._is_full()
            if full and not self._said_full:
                log.warning("%s is full; dead letters are kept in the database only", self._path)
            self._said_full = full
            if full:
                return
            self._append(turn, [(letter, key) for key, letter in new.items()], self._origin)
        self._known |= dict.fromkeys(new)
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]

    def _append(self, turn: Turn, letters: Sequence[tuple[Rejected, str | None]], origin: Origin) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        numbers = turn.numbers(len(letters))
        lines = b"".join(
            line_of(id_of(number), at, origin, letter, fingerprint)
            for number, (letter, fingerprint) in zip(numbers, letters, strict=True)
        )
        descriptor = os.open(turn.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, OWNER_ONLY_FILE)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a crash left half a line; it must not spoil this one
            left = memoryview(lines)
            try:
                while left:
                    left = left[os.write(descriptor, left) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        sync_folder(turn.path.parent)

    def _make_folder(self) -> None:
        # The rights of one that somebody else made are theirs to say.
        if not self._path.parent.is_dir():
            private_folder(self._path.parent)

    def _tail(self) -> dict[str, None]:
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, self._path.stat().st_size - TAIL))
                return dict.fromkeys(found.decode() for found in _FINGERPRINT.findall(file.read()))
        except FileNotFoundError:
            return {}

    def _is_full(self) -> bool:
        try:
            return self._path.stat().st_size >= self._most_bytes
        except FileNotFoundError:
            return False
