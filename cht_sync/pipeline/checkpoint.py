"""The file in which Logstash keeps a sequence.

Source: logstash-input-couchdb_changes 3.1.6: the sequence as plain text without line end. Here it is
written only once the destination has the data, whole or not at all; and where the destination keeps
the position itself, that one wins and this file follows it, a little later, for Logstash's sake.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from cht_sync.errors import ConfigError
from cht_sync.files import write_atomically

log = logging.getLogger(__name__)

LEISURE = 1.0
"""Seconds between two writes of a file that nobody depends on."""


class SequenceFile:
    """A saved sequence.

    `authoritative` says that no other place keeps it: then every save is written, and a disk that
    refuses is an error. Where it only follows, a disk that refuses is no reason to stop.
    """

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
        """Remember that everything up to `sequence` is safe. May raise OSError, see above."""
        self._unsaved = sequence if sequence != self._saved else None
        if self._authoritative or time.monotonic() - self._written_at >= LEISURE:
            self.flush()

    def flush(self) -> None:
        """Write what was not written yet. May raise OSError, see above."""
        if self._unsaved is None:
            return
        self._written_at = time.monotonic()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, self._unsaved)
        except OSError as error:
            if self._authoritative:
                raise
            log.warning("%s cannot be written, and nothing depends on it: %s", self._path, error)
            return
        self._saved, self._unsaved = self._unsaved, None
