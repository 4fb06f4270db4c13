"""file: events in files, by default a line of JSON each.

Delivery: at least once. A batch counts as delivered when the disk has it (fsync). When the disk refuses, what
was half written is taken back, and the batch is tried again, with growing pauses, for as long as that takes;
a stop ends such a pause, and nothing else.
A crash can leave half a line, which the next write ends, so that it spoils no other.

Options are those of logstash-output-file 4.4. Differences, all because the original loses data there: it
writes every two seconds, without fsync; and an error ends its pipeline.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from cht_sync import backoff
from cht_sync.files import sync_folder
from cht_sync.pipeline.contracts import Batch, Output
from cht_sync.pipeline.event import Event
from cht_sync.pipeline.monitor.metrics import OutputMetrics
from cht_sync.pipeline.plugins import (
    Codec,
    CodecChoice,
    OutputOptions,
    PluginContext,
    check_templates,
    option,
    register_output,
)
from cht_sync.pipeline.tally import Tally
from cht_sync.pipeline.templates import compile_template

log = logging.getLogger(__name__)

SYSTEM_MODE = -1
IMPOSSIBLE = frozenset(
    {errno.EEXIST, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EINVAL, errno.EILSEQ}
)
"""What no waiting mends when the path was made of an event."""


def _check_path(path: str) -> None:
    check_templates(path)
    first = Path(path).absolute().parts[1:2]
    if "%{" in path and first and "%{" in first[0]:
        raise ValueError("the first folder of the path must not depend on the event")


def _must_be_false(value: bool) -> None:
    if value:
        raise ValueError(
            "true is not supported: a crash would spoil the archive; compress closed files instead"
        )


@dataclass(frozen=True, kw_only=True)
class Options(OutputOptions):
    path: str = option(
        "string", required=True, check=_check_path, help="The file; `%{...}` is filled in for each event."
    )
    codec: CodecChoice = option("codec", default="json_lines", help="How an event is written.")
    write_behavior: str = option(
        "string",
        default="append",
        choices=("append", "overwrite"),
        help="Append to the file, or keep nothing in it but the last event.",
    )
    create_if_deleted: bool = option(
        "boolean", default=True, help="Make the file where there is none; false: use filename_failure."
    )
    filename_failure: str = option(
        "string",
        default="_filepath_failures",
        help="The file, in the fixed part of the path, for events whose own path lies outside of it.",
    )
    dir_mode: int = option(
        "number", default=SYSTEM_MODE, help="Access mode of folders that are made, as 0750; -1: the system's."
    )
    file_mode: int = option(
        "number", default=SYSTEM_MODE, help="Access mode of files that are made, as 0640; -1: the system's."
    )
    gzip: bool = option("boolean", default=False, check=_must_be_false, help="Must be false.")
    flush_interval: int = option("number", default=2, help="No effect: each batch is written at once.")
    stale_cleanup_interval: int = option("number", default=10, help="No effect: no file stays open.")


@register_output("file", Options)
def build(options: Options, context: PluginContext) -> Output:
    """Make the output; no file is touched before the first batch."""
    return Files(options, options.codec.build(context), context.metrics_of(OutputMetrics))


class Files:
    def __init__(self, options: Options, codec: Codec, metrics: OutputMetrics) -> None:
        self._options = options
        self._codec = codec
        self._metrics = metrics
        self._misplaced = Tally()
        path = os.path.abspath(Path(options.path).expanduser())  # noqa: PTH100 (`..` is to be resolved)
        self._depends_on_event = "%{" in path
        self._path_of = compile_template(path)
        fixed = takewhile(lambda part: "%{" not in part, Path(path).parts)
        self._root = Path(*fixed) if self._depends_on_event else Path(path).parent

    def write(self, batch: Batch, stop: threading.Event) -> bool:
        shares: dict[Path, list[bytes]] = {}
        for event in batch.events:
            shares.setdefault(self._path(event), []).append(self._codec.encode(event))
        return all(self._deliver(path, texts, stop) for path, texts in shares.items())

    def close(self) -> None:
        """Say what was not said yet; no file stays open."""
        self._say_misplaced(self._misplaced.rest())

    def _path(self, event: Event) -> Path:
        if not self._depends_on_event:
            path = Path(self._path_of(event))
        else:
            path = Path(os.path.abspath(self._path_of(event)))  # noqa: PTH100 (as above)
            if self._root not in path.parents or "\0" in str(path):
                self._tell_of_failures(f"lies outside of {self._root}")
                return self._failures
        if not self._options.create_if_deleted and not _exists(path):
            return self._failures
        return path

    @property
    def _failures(self) -> Path:
        return self._root / self._options.filename_failure

    def _tell_of_failures(self, why: str, events: int = 1) -> None:
        self._misplaced.add(why, events)
        self._say_misplaced(self._misplaced.due())

    def _say_misplaced(self, said: tuple[str, int] | None) -> None:
        if said is not None:
            log.warning("an event's path %s; it goes to filename_failure (events: %d)", *said)

    def _deliver(self, path: Path, texts: Sequence[bytes], stop: threading.Event) -> bool:
        delays = backoff.delays()
        while True:
            try:
                self._write(path, texts)
            except OSError as error:
                if self._depends_on_event and error.errno in IMPOSSIBLE and path != self._failures:
                    self._tell_of_failures(f"is impossible: {error.strerror}", len(texts))
                    return self._deliver(self._failures, texts, stop)
                seconds = next(delays)
                log.error("%s cannot be written: %s; next try in %.1f s", path, error, seconds)
                # As it was written in the configuration: what an event holds is not for everybody.
                problem = f"{self._options.path} cannot be written: {error.strerror}"
                self._metrics.failed(problem, serious=True, reason="unavailable")
                if stop.wait(seconds):
                    log.warning("%s: stopped while it waits; the batch in hand is not acknowledged", path)
                    return False
            else:
                self._metrics.answered()
                return True

    def _write(self, path: Path, texts: Sequence[bytes]) -> None:
        self._make_folder(path.parent)
        is_new = not path.exists()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        mode = 0o666 if self._options.file_mode == SYSTEM_MODE else self._options.file_mode
        descriptor = os.open(path, flags, mode)
        with os.fdopen(descriptor, "r+b", buffering=0):
            if is_new and self._options.file_mode != SYSTEM_MODE:
                os.fchmod(descriptor, mode)
            overwrite = self._options.write_behavior == "overwrite"
            if overwrite:
                os.ftruncate(descriptor, 0)
            _append(descriptor, texts[-1] if overwrite else b"".join(texts))
        if is_new:
            sync_folder(path.parent)

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        if self._options.dir_mode != SYSTEM_MODE:
            folder.chmod(self._options.dir_mode)
        sync_folder(folder.parent)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _append(descriptor: int, data: bytes) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        _write_all(descriptor, data)
        return
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size and data.endswith(b"\n") and os.pread(descriptor, 1, size - 1) != b"\n":
        data = b"\n" + data
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
