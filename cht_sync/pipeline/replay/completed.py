"""What is done with a file once all of it is delivered: it is logged, deleted, or both."""

from __future__ import annotations

import os
from pathlib import Path

from cht_sync.files import sync_folder


class Completed:
    """`action` is `log`, `delete` or `log_and_delete`; `log` names the file for the first and the last."""

    def __init__(self, action: str, log: str | None) -> None:
        self._deletes = "delete" in action
        self._log = Path(log) if "log" in action and log is not None else None
        self._logged: set[str] = set()

    def load(self) -> None:
        """Make sure that the log can be written, and learn what it has. Raises OSError."""
        if self._log is None:
            return
        self._log.touch()
        self._logged = set(self._log.read_text(errors="surrogateescape").splitlines())

    def settle(self, path: Path, size: int) -> bool:
        """Log and delete the file as asked; True if it was deleted. Raises OSError.

        One that has become larger than `size` since is left where it is.
        """
        if self._log is not None and str(path) not in self._logged:
            with self._log.open("a", errors="surrogateescape") as file:
                file.write(f"{path}\n")
                file.flush()
                os.fsync(file.fileno())
            self._logged.add(str(path))
        if not self._deletes:
            return False
        try:
            if path.stat().st_size > size:
                return False
            path.unlink()
        except FileNotFoundError:
            return True
        sync_folder(path.parent)
        return True
