"""Dead letters as lines of a file: the only place for destinations that have no table for them, a second one
beside the table.

One JSON object a line, appended and synced to the disk before the batch is acknowledged. A full file takes
no more copies of what a table keeps. Where it is the only place, the pipeline stops; Logstash loses the
newest then (`drop_newer`) or the oldest (`drop_older`).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cht_sync.errors import DeadLettersFull
from cht_sync.files import OWNER_ONLY_FILE, private_folder, sync_folder
from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.document import encode_json

log = logging.getLogger(__name__)

MOST_BYTES = 1 << 30
"""Logstash's default of `dead_letter_queue.max_bytes`."""
TAIL = 1 << 22
"""Bytes at the end of the file in which a run looks for what earlier ones appended."""
REMEMBERED = 10_000
"""Letters of this run that are known to have their line."""

_FINGERPRINT = re.compile(rb'"fingerprint":"([0-9a-f]+)"\}\n')
"""At the end of a line; within a text the quotes would be escaped."""


def file_of(folder: Path, pipeline_id: str) -> Path:
    """Where the letters of a pipeline are, in the folder `dead_letter_queue`."""
    return folder / f"{pipeline_id.replace('/', '%2F')}.jsonl"


class DeadLetterFile:
    """`dead_letter_queue/<pipeline>.jsonl` below the data folder, or `<pipeline>.jsonl` in `folder`.

    It takes letters until it has `most_bytes`.
    """

    def __init__(
        self, data_folder: Path, pipeline_id: str, folder: Path | None = None, most_bytes: int = MOST_BYTES
    ) -> None:
        self._path = file_of(folder or data_folder / "dead_letter_queue", pipeline_id)
        self._most_bytes = most_bytes
        self._known: dict[str, None] | None = None
        self._said_full = False

    def append(self, rejected: Sequence[Rejected]) -> None:
        """Make all of them durable. Raises DeadLettersFull, and OSError when the disk refuses."""
        if rejected and self._is_full():
            raise DeadLettersFull(
                f"{self._path} has {self._most_bytes} bytes of dead letters and takes no more; "
                "the pipeline stops rather than lose any",
                hint="Send them again with the input dead_letter_queue or move the file away, and start "
                "again; or raise dead_letter_queue.max_bytes.",
            )
        self._append([asdict(letter) for letter in rejected])

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
        full = self._is_full()
        if full and not self._said_full:
            log.warning("%s is full; dead letters are kept in the database only", self._path)
        self._said_full = full
        if full:
            return
        self._append([{**asdict(letter), "fingerprint": key} for key, letter in new.items()])
        self._known |= dict.fromkeys(new)
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]

    def _append(self, letters: Sequence[Mapping[str, Any]]) -> None:
        if not letters:
            return
        private_folder(self._path.parent)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = b"".join(encode_json({"at": at, **letter}) + b"\n" for letter in letters)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, OWNER_ONLY_FILE)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a crash left half a line; it must not spoil this one
            left = memoryview(lines)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        sync_folder(self._path.parent)

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
