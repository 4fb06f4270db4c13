"""Unpacking an archive that somebody else made: nothing gets outside of its folder, nothing fills the disk.

Python's own filter for archives came with 3.11.4; Debian 12 has 3.11.2.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from cht_sync.errors import ChtSyncError
from cht_sync.files import OWNER_ONLY_FILE, OWNER_ONLY_FOLDER

MOST_BYTES = 500_000_000
"""Bytes of an archive, unpacked."""
MOST_FILES = 20_000
GZIP = b"\x1f\x8b"


class _Refused(Exception):
    """Why an archive is not unpacked."""


class _Limited:
    """Reads a stream that may claim, or decompress to, any size."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = MOST_BYTES

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise _Refused(f"is larger than {MOST_BYTES // 1_000_000} MB")
        data = self._stream.read(size)
        self._left -= len(data)
        return data


def unpack(archive: Path, into: Path) -> None:
    """Unpack a tar archive, compressed by gzip or not, into the folder `into`, which is made.

    Links may lead to what is in the archive. Raises ChtSyncError, which does not name the archive, for
    paths and links that lead outside, devices, and more than MOST_BYTES or MOST_FILES; what was
    unpacked until then stays.
    """
    try:
        with archive.open("rb") as file:
            compressed = file.read(2) == GZIP
            file.seek(0)
            plain: IO[bytes] = gzip.GzipFile(fileobj=file) if compressed else file  # type: ignore[assignment]
            with tarfile.open(fileobj=_Limited(plain), mode="r|") as members:  # type: ignore[call-overload]
                _Unpacking(into).all(members)
    except _Refused as refused:
        raise ChtSyncError(f"the archive {refused}") from None
    except OSError as error:  # without its paths, which are temporary
        raise ChtSyncError(f"the archive cannot be unpacked: {error.strerror or error}") from error
    except (tarfile.TarError, zlib.error, EOFError, ValueError, OverflowError, RuntimeError) as error:
        raise ChtSyncError(f"the archive cannot be unpacked: {error}") from error


class _Unpacking:
    def __init__(self, into: Path) -> None:
        into.mkdir(mode=OWNER_ONLY_FOLDER)
        self._root = into.resolve()
        self._links: list[tuple[Path, str]] = []

    def all(self, members: tarfile.TarFile) -> None:
        for count, member in enumerate(members, start=1):
            if count > MOST_FILES:
                raise _Refused(f"holds more than {MOST_FILES} files")
            self._one(members, member)
        # Last, so that nothing is ever written through a link.
        for path, target in self._links:
            if os.path.lexists(path):
                raise _Refused(f"holds a link and something else of one name: {self._name(path)!r}")
            path.parent.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY_FOLDER)
            path.symlink_to(target)
        for path, _ in self._links:
            if not path.resolve().is_relative_to(self._root):
                raise _Refused(f"holds a link that leads outside: {self._name(path)}")

    def _one(self, members: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = self._inside(member.name)
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY_FOLDER)
        elif member.issym():
            self._links.append((path, member.linkname))
        elif member.islnk():
            path.parent.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY_FOLDER)
            shutil.copyfile(self._inside(member.linkname), path)
        elif member.isreg():
            content = members.extractfile(member)
            path.parent.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY_FOLDER)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY_FILE)
            with os.fdopen(descriptor, "wb") as file:
                if content is not None:
                    shutil.copyfileobj(content, file)
        else:
            raise _Refused(f"holds what is neither file nor folder: {member.name!r}")

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._root))

    def _inside(self, name: str) -> Path:
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\x00" in name:
            raise _Refused(f"holds a path that leads outside: {name!r}")
        return self._root.joinpath(*parts.parts)
