"""Reading files of dead letters, and taking letters out of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from cht_sync.files import OWNER_ONLY_FILE, sync_folder
from cht_sync.pipeline.dead_letters.line import Letter, id_of_line, read_line
from cht_sync.pipeline.dead_letters.turn import turn_at

ENDING = ".jsonl"
_SLASH = "%2F"


def file_of(folder: Path, pipeline_id: str) -> Path:
    """Where the letters of a pipeline are, in the folder `dead_letter_queue`."""
    return folder / f"{pipeline_id.replace('/', _SLASH)}{ENDING}"


def files_in(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by pipeline; none where there is no folder. Raises OSError."""
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix == ENDING and path.is_file())
    except FileNotFoundError:
        return {}
    return {path.stem.replace(_SLASH, "/"): path for path in found if not path.name.startswith(".")}


def letters_in(path: Path, pipeline: str, ids: Collection[str] | None = None) -> Iterator[Letter]:
    """Yield the letters of a file, oldest first, or only those with these ids. Raises OSError.

    A last line without an end is being written, or was cut off by a crash: no letter was acknowledged then.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            if line.strip() and (ids is None or id_of_line(line) in ids):
                yield read_line(line, pipeline)


def rewrite(path: Path, changes: Mapping[str, bytes | None]) -> set[str]:
    """Put other lines in the place of letters, or take them out (None); return the ids that were there.

    A crash leaves the old file or the new one, and what is appended meanwhile waits. Needs room for a second
    file of that size. Raises OSError, and the file is as it was.
    """
    with turn_at(path) as turn:
        try:
            source = turn.path.open("rb")
        except FileNotFoundError:
            return set()
        temporary = turn.path.with_name(f".{turn.path.name}.tmp")
        temporary.unlink(missing_ok=True)  # of a rewrite that was killed
        try:
            made = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY_FILE)
            with source, os.fdopen(made, "wb") as target:
                _take_over(os.fstat(source.fileno()), target.fileno())
                found = _copy(source, target, changes)
                target.flush()
                os.fsync(target.fileno())
            if found:
                temporary.replace(turn.path)
                sync_folder(turn.path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    return found


def _copy(source: BinaryIO, target: BinaryIO, changes: Mapping[str, bytes | None]) -> set[str]:
    found: set[str] = set()
    for line in source:
        id = id_of_line(line)
        if id not in changes or not line.endswith(b"\n"):
            target.write(line)
            continue
        found.add(id)
        target.write(changes[id] or b"")
    return found


def _take_over(status: os.stat_result, descriptor: int) -> None:
    """Let the new file have the owner of the old one: the engine may run as somebody else."""
    if os.fstat(descriptor).st_uid != status.st_uid:
        os.fchown(descriptor, status.st_uid, status.st_gid)
