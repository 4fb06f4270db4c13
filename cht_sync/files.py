"""Files that survive a crash: written whole or not at all, readable by their owner only."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

OWNER_ONLY_FILE = 0o600
OWNER_ONLY_FOLDER = 0o700


def write_atomically(path: Path, content: str | bytes, *, mode: int = OWNER_ONLY_FILE) -> None:
    """Replace `path` by `content`: temporary file, fsync, rename, fsync of the folder.

    A reader sees the old content or the new one. Raises OSError when the disk refuses.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_folder(path: Path) -> Path:
    """Make `path` a folder that only its owner can enter, and its parents where they lack; return it."""
    path.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY_FOLDER)
    path.chmod(OWNER_ONLY_FOLDER)
    return path


def last_lines(path: Path, count: int = 10, *, at_most_bytes: int = 16_384) -> list[str]:
    """Return the last `count` non-empty lines of a text file; none where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - at_most_bytes))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-count:] if count > 0 else []


def disk_free(folder: Path) -> int | None:
    """Bytes that are free for us where `folder` is; None where it cannot be seen."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there already."""
    return next(one for one in (folder, *folder.absolute().parents) if one.exists())
