"""The file in which Logstash keeps a sequence.

Source: logstash-input-couchdb_changes 3.1.6: the sequence as plain text without line end. Here it is
written only once the destination has the data, whole or not at all; and where the destination keeps
the position itself, that one wins and this file follows it, a little later, for Logstash's sake.
"""

from __future__ import annotations

import time
from pathlib import Path

from cht_sync.errors import ConfigError
from cht_sync.files import write_atomically

LEISURE = 1.0
"""Seconds between two writes of a file that nobody depends on."""


class SequenceFile:
    """A saved sequence; `authoritative` says that no other place keeps it, so every save is written."""

    def __init__(self, path: Path, *, authoritative: bool) -> None:
        self._path = path
        self._authoritative = authoritative
        self._saved: str | None = None
        self._unsaved: str | None = None
        self._written_at = 0.0

    def load(self) -> str | None:
        """Return the saved sequence; None where there is none yet. An empty file counts as none."""
        try:
            self._saved = self._path.read_text().strip() or None
        except FileNotFoundError:
            self._saved = None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the sequence file {self._path}: {error}") from error
        return self._saved

    def save(self, sequence: str) -> None:
        """Remember that everything up to `sequence` is safe. Raises OSError when the disk refuses."""
        self._unsaved = sequence if sequence != self._saved else None
        if self._authoritative or time.monotonic() - self._written_at >= LEISURE:
            self.flush()

    def flush(self) -> None:
        """Write what was not written yet."""
        if self._unsaved is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, self._unsaved)
        self._saved, self._unsaved = self._unsaved, None
        self._written_at = time.monotonic()
