"""The file in which Logstash keeps a sequence.

Source: logstash-input-couchdb_changes 3.1.6: the sequence as plain text without line end. Here it is
written only once the destination has the data, whole or not at all; and where the destination keeps
the position itself, that one wins and this file follows it, a little later, for Logstash's sake.

A sequence means nothing in another database, where CouchDB may take it without a word. So a file beside it,
`<name>.source`, says which server and database it belongs to.
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
    """The saved sequence of `source`, which names a server and a database there.

    `authoritative` says that no other place keeps it: then every save is written, and a disk that
    refuses is an error. Where it only follows, a disk that refuses is no reason to stop.
    """

    def __init__(self, path: Path, *, authoritative: bool, source: str) -> None:
        self._path = path
        self._source_path = path.with_name(f"{path.name}.source")
        self._authoritative = authoritative
        self._source = source
        self._saved: str | None = None
        self._saved_source: str | None = None
        self._unsaved: str | None = None
        self._written_at = 0.0

    def load(self) -> str | None:
        """Return the saved sequence; None where there is none yet. An empty file counts as none.

        One that nobody says the source of, as of Logstash's file, is ours. Raises ConfigError where it
        belongs to another source, and where a file cannot be read.
        """
        self._saved, self._saved_source = _text(self._path), _text(self._source_path)
        if self._saved is not None and self._saved_source not in (None, self._source):
            raise ConfigError(
                f"the sequence file {self._path} belongs to {self._saved_source}, not to {self._source}; "
                "nothing is read",
                hint="Give this database a sequence_path of its own; or, to read it from its start, remove "
                f"the file; or, if it is the same database at another address, remove {self._source_path}.",
            )
        return self._saved

    def adopt(self) -> None:
        """Say beside a sequence that was loaded whose it is, where nothing does. Raises OSError."""
        if self._saved is not None:
            self._say_source()

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
            # First: a sequence without its source would be taken for anybody's.
            self._say_source()
            write_atomically(self._path, self._unsaved)
        except OSError as error:
            if self._authoritative:
                raise
            log.warning("%s cannot be written, and nothing depends on it: %s", self._path, error)
            return
        self._saved, self._unsaved = self._unsaved, None

    def _say_source(self) -> None:
        if self._saved_source != self._source:
            write_atomically(self._source_path, self._source)
            self._saved_source = self._source


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the sequence file {path}: {error}") from error
