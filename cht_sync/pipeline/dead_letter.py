"""Dead letters as lines of a file, for destinations that have no table for them.

One JSON object a line, appended and synced to the disk before the batch is acknowledged.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from cht_sync.files import OWNER_ONLY_FILE, private_folder, sync_folder
from cht_sync.pipeline.contracts import Rejected
from cht_sync.pipeline.document import encode_json


class DeadLetterFile:
    """`dead_letter_queue/<pipeline>.jsonl` below the data folder."""

    def __init__(self, data_folder: Path, pipeline_id: str) -> None:
        name = pipeline_id.replace("/", "%2F")
        self._path = data_folder / "dead_letter_queue" / f"{name}.jsonl"

    def append(self, rejected: Sequence[Rejected]) -> None:
        """Make all of them durable. Raises OSError when the disk refuses."""
        if not rejected:
            return
        private_folder(self._path.parent)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = b"".join(encode_json({"at": at, **asdict(letter)}) + b"\n" for letter in rejected)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, OWNER_ONLY_FILE)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a crash left half a line; it must not spoil this one
            while lines:
                lines = lines[os.write(descriptor, lines) :]
            os.fsync(descriptor)
        sync_folder(self._path.parent)
