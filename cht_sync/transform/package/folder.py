"""A package in a folder of this machine: read, never written."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from cht_sync.errors import ChtSyncError
from cht_sync.files import OWNER_ONLY_FILE, OWNER_ONLY_FOLDER
from cht_sync.transform.package.unpack import MOST_FILES

LEFT_OUT = frozenset({"target", "logs", ".git", ".venv", "venv", "node_modules", ".user.yml"})
"""In the root of a project: what dbt writes there, and what is no part of it."""


class FolderSource:
    """A folder; its version is its fingerprint. What is below `work_folder` is no part of it."""

    def __init__(self, folder: Path, work_folder: Path) -> None:
        self._folder = folder
        self._work_folder = work_folder

    def newest(self) -> str:
        """Return the fingerprint. Raises ChtSyncError where there is no such folder."""
        if not self._folder.is_dir():
            raise ChtSyncError(f"there is no folder {self._folder}")
        return fingerprint(self._folder, self._work_folder)

    def fetch(self, version: str, into: Path) -> None:
        """Copy the folder to `into`, which is made. Raises ChtSyncError, also where it changes meanwhile."""
        copy(self._folder, into, self._work_folder)
        if self.newest() != version:
            raise ChtSyncError(f"{self._folder} changed while it was copied")


def fingerprint(folder: Path, left_out: Path | None = None) -> str:
    """Change when a file of `folder` changes: names, sizes and times, not contents.

    Raises ChtSyncError where the folder cannot be read or holds more than a package does.
    """
    digest = hashlib.sha256()
    try:
        for path in _files(folder, _Ignore(folder, left_out)):
            status = path.stat()
            digest.update(f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    except OSError as error:
        raise ChtSyncError(f"{folder} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def contents(folder: Path) -> str:
    """Change when a name or a byte of `folder` changes, and not with a copy of it. Raises ChtSyncError."""
    digest = hashlib.sha256()
    try:
        for path in _files(folder, _Ignore(folder, None)):
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    except OSError as error:
        raise ChtSyncError(f"{folder} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def copy(folder: Path, into: Path, left_out: Path | None = None) -> None:
    """Copy a folder to `into`, which is made; links become what they lead to, all is ours to write.

    Raises ChtSyncError where it cannot be read.
    """
    try:
        shutil.copytree(folder, into, ignore=_Ignore(folder, left_out), ignore_dangling_symlinks=True)
        for parent, _, files in os.walk(into):
            Path(parent).chmod(OWNER_ONLY_FOLDER)
            for name in files:
                Path(parent, name).chmod(OWNER_ONLY_FILE)
    except (OSError, shutil.Error) as error:
        raise ChtSyncError(f"{folder} cannot be copied: {error}") from error


def _files(folder: Path, ignored: _Ignore) -> Iterator[Path]:
    count = 0
    for parent, folders, files in os.walk(folder, followlinks=True):
        out = ignored(parent, [*folders, *files])
        folders[:] = sorted(set(folders) - out)
        for name in sorted(set(files) - out):
            path = Path(parent, name)
            if not path.exists():
                continue  # a link that leads nowhere, as editors make them
            count += 1
            if count > MOST_FILES:
                raise ChtSyncError(f"{folder} holds more than {MOST_FILES} files: it is no dbt project")
            yield path


class _Ignore:
    """Says which names in a folder are no part of the project, as shutil.copytree asks it."""

    def __init__(self, root: Path, left_out: Path | None) -> None:
        self._root = str(root)
        self._left_out = left_out and (str(left_out.parent), left_out.name)

    def __call__(self, folder: str, names: list[str]) -> set[str]:
        out = set(LEFT_OUT if folder == self._root else {".git"})
        if self._left_out and folder == self._left_out[0]:
            out.add(self._left_out[1])
        return out.intersection(names)
