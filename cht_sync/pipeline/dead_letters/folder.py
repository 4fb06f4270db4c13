"""Whether dead letters could be kept, found out before anything is read."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from cht_sync.errors import ConfigError
from cht_sync.files import OWNER_ONLY_FOLDER
from cht_sync.pipeline.dead_letters.file import file_of


def problems_with(data_folder: Path, folder: Path | None, pipeline_id: str) -> list[ConfigError]:
    """Say why letters of a pipeline could not be kept; nothing where they could.

    `folder` is path.dead_letter_queue, None for the usual one in `data_folder`. Tried for real, since rights,
    read-only disks and those of other machines all have their own rules; nothing is left behind.
    """
    setting = "path.data" if folder is None else "path.dead_letter_queue"
    files = "logstash.yml" if folder is None else "logstash.yml or pipelines.yml"
    path = file_of(folder or data_folder / "dead_letter_queue", pipeline_id)
    try:
        _try(path)
    except (OSError, ValueError) as error:
        # A ValueError is said of a name that no file can have: NUL, a lone surrogate.
        failed = error if isinstance(error, OSError) else OSError(0, "is no name of a file")
        named = Path(os.fsdecode(failed.filename)) if failed.filename else path
        where = named if named in (path, _lock(path), *path.parents) else path.parent
        problem = ConfigError(
            f"pipeline {pipeline_id}: {setting}: dead letters cannot be kept: {where}: {failed.strerror}",
            hint=f"Name a folder that can be written with --{setting} or in {files}, or mend this one.",
        )
        return [problem]
    return []


def _try(path: Path) -> None:
    """Raise OSError where the file could not be made or appended to."""
    folder = path.parent
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    made: list[Path] = []
    try:
        for one in reversed(missing):
            with contextlib.suppress(FileExistsError):  # another engine starts at the same time
                one.mkdir(mode=OWNER_ONLY_FOLDER)
                made.append(one)
        if not folder.is_dir():
            raise NotADirectoryError(20, "is no folder", str(folder))
        with tempfile.TemporaryFile(dir=folder):
            pass
        for one in (path, _lock(path)):
            _try_file(one)
    finally:
        for one in reversed(made):
            with contextlib.suppress(OSError):
                one.rmdir()


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _try_file(path: Path) -> None:
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return
    if not is_file:
        raise OSError(0, "is no plain file", str(path))
    os.close(os.open(path, os.O_RDWR | os.O_APPEND))
