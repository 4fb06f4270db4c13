"""file: the lines of files that are complete, from the first to the last, as for a replay.

Delivery: at least once. The position in a file moves, durably, when the outputs have its lines; a file is
logged or deleted only when they have all of it. A file that was deleted and made anew is read from its
start, as long as its inode, its path or its size tells; one that is shorter than its position is, too.

Options and events are those of logstash-input-file 4.4 with `mode => "read"`; following files that are
being written (`mode => "tail"`, its default) is refused. Differences, all because the original loses data
there: positions move after delivery, not before; a file that cannot be read makes the input fail in the
end, rather than be passed over; an archive that is broken is a dead letter and stays where it is; the codec
json_lines reads lines of files (the original waits for line ends that it never gets).
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cht_sync.errors import PositionNotKept, SourceUnavailable
from cht_sync.pipeline.contracts import Batch, Input, Position, Rejected
from cht_sync.pipeline.decorate import decorate_read
from cht_sync.pipeline.ecs import ECS_CHOICES, ECS_DEFAULT, ECS_HELP, HostField, is_ecs, set_unless_there
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.plugins import (
    CodecChoice,
    Decoder,
    InputOptions,
    PluginContext,
    option,
    register_input,
    whole,
)
from cht_sync.pipeline.replay.acknowledged import InOrder
from cht_sync.pipeline.replay.completed import Completed
from cht_sync.pipeline.replay.durations import seconds_of
from cht_sync.pipeline.replay.found import found_files
from cht_sync.pipeline.replay.lines import ARCHIVES, FileLines, is_whole_archive
from cht_sync.pipeline.replay.sincedb import Sincedb
from cht_sync.pipeline.units import check_delimiter

log = logging.getLogger(__name__)

MOST_LINES = 1000
MOST_BYTES = 8 << 20
"""Of one batch, beside the line that exceeds it."""
NO_EFFECT = "No effect"


def _check_paths(paths: tuple[str, ...]) -> None:
    if not paths:
        raise ValueError("expected a path, got an empty array")
    for path in paths:
        if not Path(path).is_absolute():
            raise ValueError(f"{path!r} must be absolute")


def _check_sincedb(path: str | None) -> None:
    if path is not None and Path(path).is_dir():
        raise ValueError(f"{path!r} is a folder; a file is needed")


@dataclass(frozen=True, kw_only=True)
class Options(InputOptions):
    path: tuple[str, ...] = option(
        "string",
        many=True,
        required=True,
        check=_check_paths,
        help="Absolute paths or patterns: `*`, `**`, `?`, `[]`, `{}`.",
    )
    exclude: tuple[str, ...] = option(
        "string", many=True, default=(), help="Patterns of names, without folder, that are left out."
    )
    mode: str = option(
        "string",
        default="tail",
        choices=("tail", "read"),
        help="Must be read; tail, the default, is refused.",
    )
    codec: CodecChoice = option("codec", default="plain", help="How a line becomes events.")
    delimiter: str = option("string", default="\n", check=check_delimiter, help="What ends each line.")
    exit_after_read: bool = option(
        "boolean", default=False, help="End when all files that were found are read; else look for new ones."
    )
    file_completed_action: str = option(
        "string",
        default="delete",
        choices=("delete", "log", "log_and_delete"),
        help="What is done with a file once all of it is delivered.",
    )
    file_completed_log_path: str | None = option(
        "string", help="The file that delivered files are logged in."
    )
    sincedb_path: str | None = option(
        "string",
        check=_check_sincedb,
        help="File that keeps the positions; /dev/null: none. Unset: one below the data folder.",
    )
    file_sort_by: str = option(
        "string", default="last_modified", choices=("last_modified", "path"), help="Which file comes first."
    )
    file_sort_direction: str = option(
        "string", default="asc", choices=("asc", "desc"), help="In which order."
    )
    ignore_older: str | None = option(
        "string", check=seconds_of, help="Leave out files not changed for as long: seconds, or `1 day`."
    )
    check_archive_validity: bool = option(
        "boolean", default=False, help="Read a .gz file only if it can be read to its end."
    )
    stat_interval: str = option(
        "string", default="1", check=seconds_of, help="Seconds, or `500 ms`; times discover_interval."
    )
    discover_interval: int = option(
        "number",
        default=15,
        check=whole(0),
        help="How many stat_intervals lie between two looks for new files.",
    )
    file_chunk_size: int = option("number", default=32_768, check=whole(1), help="Bytes read at once.")
    file_chunk_count: int | None = option(
        "number", check=whole(1), help=f"{NO_EFFECT}: a file is read to its end before the next one."
    )
    start_position: str = option(
        "string", default="end", choices=("beginning", "end"), help=f"{NO_EFFECT} with mode read."
    )
    sincedb_write_interval: str = option(
        "string", default="15", check=seconds_of, help=f"{NO_EFFECT}: a position is saved with its batch."
    )
    sincedb_clean_after: str = option(
        "string",
        default="14 days",
        check=lambda text: seconds_of(text, "d"),
        help="Positions of files that are gone are forgotten after as long: days, or `12 hours`.",
    )
    close_older: str = option("string", default="1 hour", help=f"{NO_EFFECT}: one file is open at a time.")
    max_open_files: int | None = option(
        "number", check=whole(1), help=f"{NO_EFFECT}: one file is open at a time."
    )
    batch_size: int | None = option(
        "number",
        check=whole(1),
        help="Most lines in one batch; unset: pipeline.batch.size, else 1000 (not in Logstash)",
    )
    ecs_compatibility: str = option("string", default=ECS_DEFAULT, choices=ECS_CHOICES, help=ECS_HELP)

    def __post_init__(self) -> None:
        if self.mode != "read":
            raise ValueError(
                'mode => "tail" is not supported (it is the default); write mode => "read" for files that '
                "are complete, or send what is being written through the input stdin"
            )
        if "log" in self.file_completed_action and self.file_completed_log_path is None:
            raise ValueError(
                f'file_completed_action => "{self.file_completed_action}" needs file_completed_log_path'
            )


@register_input("file", Options)
def build(options: Options, context: PluginContext) -> Input:
    """Make the input; no file is touched before `start`."""
    decoder = options.codec.build_decoder(context)
    name = hashlib.md5(",".join(options.path).encode(), usedforsecurity=False).hexdigest()
    usual = context.data_folder / "plugins" / "inputs" / "file" / f".sincedb_{name}"
    sincedb = Path(options.sincedb_path) if options.sincedb_path else usual
    positions = Sincedb(sincedb, seconds_of(options.sincedb_clean_after, "d"))
    return Files(options, decoder, positions, options.batch_size or context.batch_size or MOST_LINES)


class Files:
    source: str | None = None

    def __init__(self, options: Options, decoder: Decoder, sincedb: Sincedb, batch_size: int) -> None:
        self._options = options
        self._decoder = decoder
        self._decorate = decorate_read(options)
        self._host = HostField(options.ecs_compatibility)
        self._path_field = "[log][file][path]" if is_ecs(options.ecs_compatibility) else "path"
        self._pause = seconds_of(options.stat_interval) * options.discover_interval
        self._sincedb = sincedb
        self._batch_size = int(batch_size)
        self._completed = Completed(options.file_completed_action, options.file_completed_log_path)
        self._wake = threading.Event()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._acks = InOrder()
        self._ahead: list[Path] = []
        self._current: FileLines | None = None
        self._read_to: dict[Path, tuple[int, int]] = {}
        """Inode and size of files that were read to their end."""
        self._failed: dict[Path, str] = {}
        self._looks_at: float | None = 0.0

    def start(self, position: Position | None, stop: threading.Event) -> None:
        self._begin_anew()
        try:
            self._sincedb.load()
            self._completed.load()
        except OSError as error:
            raise PositionNotKept(f"the positions of files, or their log, cannot be used: {error}") from error

    def read(self, stop: threading.Event, timeout: float) -> Batch | None:
        until = time.monotonic() + timeout
        while not stop.is_set():
            if self._current is None and not self._open_next():
                if self._is_over():
                    return None
                wait = min(until, self._looks_at or until) - time.monotonic()
                if wait > 0:
                    self._wake.wait(wait)
                if time.monotonic() >= until:
                    return Batch([])
                continue
            batch = self._portion()
            if batch is not None:
                return batch
        return None

    def interrupt(self) -> None:
        self._wake.set()

    def close(self) -> None:
        self._shut()
        self._wake.clear()

    def _shut(self) -> None:
        if self._current is not None:
            self._current.close()
            self._current = None

    def _is_over(self) -> bool:
        """Whether all files are read and no others are looked for."""
        if not self._options.exit_after_read:
            return False
        if self._failed:
            path, reason = next(iter(self._failed.items()))
            raise SourceUnavailable(
                f"{len(self._failed)} files cannot be read, such as {path}: {reason}",
                hint="All others are delivered. Mend it and start again; nothing is read twice.",
            )
        return True

    def _open_next(self) -> bool:
        if not self._ahead:
            now = time.monotonic()
            if self._looks_at is None or now < self._looks_at:
                return False
            self._looks_at = None if self._options.exit_after_read else now + self._pause
            self._ahead = self._sorted(found_files(self._options.path, self._options.exclude))
        while self._ahead:
            path = self._ahead.pop(0)
            try:
                if self._is_wanted(path):
                    self._current = self._opened(path)
                    self._failed.pop(path, None)
                    return True
            except FileNotFoundError:
                log.warning("%s is gone", path)
            except OSError as error:
                self._fail(path, error)
        return False

    def _opened(self, path: Path) -> FileLines:
        status = path.stat()
        options = self._options
        return FileLines(
            path,
            self._sincedb.position(path, status),
            options.delimiter.encode(),
            int(options.file_chunk_size),
        )

    def _is_wanted(self, path: Path) -> bool:
        status = path.stat()
        if self._read_to.get(path) == (status.st_ino, status.st_size):
            return False
        older = self._options.ignore_older
        if older is not None and time.time() - status.st_mtime > seconds_of(older):
            return False
        if self._options.check_archive_validity and path.suffix in ARCHIVES and not is_whole_archive(path):
            raise OSError(None, "it is no whole archive")
        return True

    def _sorted(self, paths: list[Path]) -> list[Path]:
        def key(path: Path) -> tuple[float, Path]:
            try:
                return (path.stat().st_mtime if self._options.file_sort_by == "last_modified" else 0.0, path)
            except OSError:
                return (0.0, path)

        return sorted(paths, key=key, reverse=self._options.file_sort_direction == "desc")

    def _portion(self) -> Batch | None:
        """The next lines of the open file; None where it could not be read any further."""
        lines = self._current
        if lines is None:
            return None
        try:
            units = lines.portion(self._batch_size, MOST_BYTES)
        except OSError as error:
            self._fail(lines.path, error)
            self._shut()
            return None
        events = [self._made(event, lines.path) for unit in units for event in self._decoder.decode(unit)]
        rejected = []
        if lines.ended:
            self._read_to[lines.path] = (lines.status.st_ino, lines.position)
            if lines.broken is not None:
                reason = f"{lines.path} is no whole archive: {lines.broken}; what could be read is delivered"
                rejected = [Rejected(None, None, None, "broken_archive", reason)]
            self._shut()
        return Batch(events, rejected, ack=self._acks.track(self._delivered(lines, lines.position)))

    def _delivered(self, lines: FileLines, position: int) -> Callable[[], None]:
        """What is to be done once the lines up to `position` are delivered."""
        ended, broken = lines.ended, lines.broken is not None

        def settle() -> None:
            if broken:
                return  # looked at again, and said again, by the next run
            try:
                self._sincedb.move(lines.path, lines.status, position)
                if ended and self._completed.settle(lines.path, position):
                    self._sincedb.forget(lines.status)
                    self._read_to.pop(lines.path, None)
            except OSError as error:
                raise PositionNotKept(
                    f"{lines.path} is delivered, but that cannot be kept: {error}",
                    hint="Make room, or allow to write there; some lines may then be delivered twice.",
                ) from error

        return settle

    def _made(self, event: Event, path: Path) -> Event:
        event.metadata["path"] = str(path)
        event.metadata["host"] = self._host.name
        self._host.set(event)
        set_unless_there(event, self._path_field, os.fspath(path))
        self._decorate(event)
        return event

    def _fail(self, path: Path, error: OSError) -> None:
        reason = error.strerror or str(error)
        if self._failed.get(path) != reason:
            log.error("%s cannot be read: %s", path, reason)
        self._failed[path] = reason
