"""One process for each path.data: its positions and dead letters belong to one engine at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cht_sync.errors import ChtSyncError
from cht_sync.files import OWNER_ONLY_FILE, private_folder

LOCK_FILE = ".lock"


@contextmanager
def only_user_of(data_folder: Path) -> Iterator[None]:
    """Hold the folder until the block ends, or the process does.

    Raises ChtSyncError when another process holds it, or when it cannot be written.
    """
    path = data_folder / LOCK_FILE
    try:
        private_folder(data_folder)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, OWNER_ONLY_FILE)
    except OSError as error:
        raise ChtSyncError(
            f"{path}: {error.strerror}", hint="Name a folder that can be written with --path.data."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ChtSyncError(
                f"the data folder {data_folder} is in use by another process",
                hint="End that one, or give this one a folder of its own with --path.data.",
            ) from None
        yield
    finally:
        os.close(descriptor)
