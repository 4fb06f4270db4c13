"""dead_letter_queue: the events that ended as dead letters in a file, read again.

Delivery: at least once. The position in the file moves, durably, when the outputs have its letters. The input
goes on with letters that come later, and never ends by itself. `cht-sync dead-letters replay` and `drop` may
take letters out of the file meanwhile; the position stands behind a letter, not at a byte.

Reads `<path>/<pipeline_id>.jsonl`, which this engine writes; the segments of Logstash's own queue are not
read. Options are those of logstash-input-dead_letter_queue 2.0. The event is what was refused, `@metadata`
included, as far as that is JSON, else its text in `message`. `[@metadata][dead_letter_queue]` says where and
why: `plugin_type`, `plugin_id`, `reason` and `entry_time` as in Logstash, and `id`, `pipeline`, `address`,
`database`, `document_id`, `revision`, `sequence`, `code`, `status` and `response`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cht_sync.errors import ConfigError, SourceUnavailable
from cht_sync.pipeline.contracts import Batch, Input, Position, Rejected
from cht_sync.pipeline.dead_letters.file import file_of
from cht_sync.pipeline.dead_letters.line import MALFORMED, Letter, events_of, read_line
from cht_sync.pipeline.dead_letters.place import Place, SavedPlace
from cht_sync.pipeline.decorate import decorate_read
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import InputOptions, PluginContext, option, register_input, whole
from cht_sync.pipeline.replay.acknowledged import InOrder
from cht_sync.pipeline.replay.lines import FileLines
from cht_sync.pipeline.timestamp import Timestamp

log = logging.getLogger(__name__)

MOST_LETTERS = 250
MOST_BYTES = 8 << 20
"""Of one batch, beside the letter that exceeds it."""
LOOK_AGAIN = 1.0
"""Seconds between two looks for new letters."""
CHUNK = 1 << 16
SAID = ("id", "address", "database", "document_id", "revision", "sequence", "code", "status", "response")
"""What an event is told of its letter beside what Logstash tells it."""


def _check_sincedb(path: str | None) -> None:
    if path is not None and Path(path).is_dir():
        raise ValueError(f"{path!r} is a folder; a file is needed")


def _check_moment(text: str | None) -> None:
    if text is not None:
        Timestamp.parse(text)


def _must_be_false(value: bool) -> None:
    if value:
        raise ValueError("true is not supported: letters leave their file by `cht-sync dead-letters`")


@dataclass(frozen=True, kw_only=True)
class Options(InputOptions):
    path: Path = option(
        "path",
        required=True,
        help="The folder `dead_letter_queue` below the data folder of the other pipeline.",
    )
    pipeline_id: str = option("string", default="main", help="The pipeline whose letters are read.")
    commit_offsets: bool = option(
        "boolean", default=True, help="Keep the position; false: every run begins at the first letter."
    )
    sincedb_path: str | None = option(
        "string", check=_check_sincedb, help="File that keeps the position; unset: one below the data folder."
    )
    start_timestamp: str | None = option(
        "string", check=_check_moment, help="Leave out letters that are older (ISO 8601)."
    )
    batch_size: int | None = option(
        "number",
        check=whole(1),
        help="Most letters in one batch; unset: pipeline.batch.size, else 250 (not in Logstash)",
    )
    clean_consumed: bool = option(
        "boolean", default=False, check=_must_be_false, help="Must be false: what was read is not deleted."
    )


@register_input(
    "dead_letter_queue", Options, unsupported={"codec": "has no effect: letters are JSON; leave it out"}
)
def build(options: Options, context: PluginContext) -> Input:
    """Make the input. Raises ConfigError where the pipeline would read its own letters."""
    file = file_of(options.path, options.pipeline_id)
    own = file_of(context.dead_letters, context.pipeline_id)
    if file.resolve() == own.resolve():
        raise ConfigError(
            f"pipeline {context.pipeline_id} would read its own dead letters: what it refuses again would "
            "come again; give it another pipeline.id"
        )
    name = hashlib.md5(str(options.path).encode(), usedforsecurity=False).hexdigest()
    folder = context.data_folder / "plugins" / "inputs" / "dead_letter_queue" / options.pipeline_id
    sincedb = Path(options.sincedb_path) if options.sincedb_path else folder / f".sincedb_{name}"
    batch_size = options.batch_size or context.batch_size or MOST_LETTERS
    return DeadLetterQueue(options, file, SavedPlace(sincedb, file), batch_size)


class DeadLetterQueue:
    source: str | None = None

    def __init__(self, options: Options, file: Path, saved: SavedPlace, batch_size: int) -> None:
        self._options = options
        self._file = file
        self._saved = saved
        self._batch_size = int(batch_size)
        self._decorate = decorate_read(options)
        self._start = Timestamp.parse(options.start_timestamp) if options.start_timestamp else None
        self._acks = InOrder()
        self._place = Place()
        self._seen: tuple[int, ...] = ()
        self._wake = threading.Event()

    def start(self, position: Position | None, stop: threading.Event) -> None:
        self._acks = InOrder()
        self._place = Place()
        self._seen = ()
        if self._options.commit_offsets:
            try:
                self._place = self._saved.load()
            except OSError as error:
                raise SourceUnavailable(f"the position in {self._file} cannot be read: {error}") from error

    def read(self, stop: threading.Event, timeout: float) -> Batch | None:
        waited = 0.0
        while not stop.is_set():
            batch = self._portion()
            if batch is not None:
                return batch
            if waited >= timeout:
                return Batch([])
            pause = min(LOOK_AGAIN, timeout - waited)
            self._wake.wait(pause)
            waited += pause
        return None

    def interrupt(self) -> None:
        self._wake.set()

    def close(self) -> None:
        self._wake.clear()

    def _portion(self) -> Batch | None:
        """The next letters; None where there are none now."""
        try:
            lines = self._lines()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceUnavailable(f"{self._file} cannot be read: {error.strerror}") from error
        if not lines:
            return None
        events: list[Event] = []
        rejected: list[Rejected] = []
        for line in lines:
            self._place = self._place.after(line)
            if line.strip():
                self._add(read_line(line, self._options.pipeline_id), events, rejected)
        place = self._place
        return Batch(events, rejected, ack=self._acks.track(lambda: self._move(place)))

    def _lines(self) -> list[bytes]:
        """The next lines of the file that is there now, which need not be the one of the last time."""
        with self._file.open("rb") as file:
            status = os.fstat(file.fileno())
            seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            if seen == self._seen and self._place.position == status.st_size:
                return []
            self._place = self._place.found_in(file)
            reader = FileLines(self._file, self._place.position, b"\n", CHUNK)
            try:
                if not os.path.samestat(reader.status, status):
                    return []  # replaced in between; looked at again
                lines = reader.portion(self._batch_size, MOST_BYTES)
            finally:
                reader.close()
        self._seen = seen
        # A line without an end is being written by the other pipeline.
        return lines[:-1] if reader.unfinished else lines

    def _move(self, place: Place) -> None:
        if not self._options.commit_offsets:
            return
        try:
            self._saved.move(place)
        except OSError as error:
            raise SourceUnavailable(
                f"letters of {self._file} are delivered, but that cannot be kept: {error}",
                hint="Mend it and start again; some letters may then be delivered twice.",
            ) from error

    def _add(self, letter: Letter, events: list[Event], rejected: list[Rejected]) -> None:
        said = letter.members
        document = said.get("document")
        if letter.code == MALFORMED and "at" not in said:
            # Half a line that a crash left, for instance; the letter was not acknowledged then.
            rejected.append(Rejected(None, None, None, MALFORMED, str(said["reason"]), document))
            return
        if self._start is not None and _is_before(letter, self._start):
            return
        for event in _events(document):
            event.metadata["dead_letter_queue"] = {
                "plugin_type": said.get("plugin_type") or "output",
                "plugin_id": said.get("plugin_id") or letter.pipeline,
                "reason": said.get("reason"),
                "entry_time": said.get("at"),
                "pipeline": letter.pipeline,
                **{name: said.get(name) for name in SAID},
                "id": letter.id,
            }
            self._decorate(event)
            events.append(event)


def _is_before(letter: Letter, start: Timestamp) -> bool:
    try:
        return Timestamp.parse(str(letter.members.get("at"))) < start
    except ValueError:
        return False


def _events(document: Any) -> list[Event]:
    """What was refused: one event, or those of the array that was one request."""
    if document is None:
        return [Event()]
    events = events_of(document)
    return [Event({"message": document})] if events is None else events
