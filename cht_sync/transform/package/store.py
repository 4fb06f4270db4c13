"""The package that is run, and its next version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cht_sync.transform.options import TransformOptions


@dataclass(frozen=True)
class Package:
    """A dbt project on disk, its dependencies installed.

    `origin` is the address without credentials, "own" for our package; `commit` a git commit (40 hex
    digits) or the SHA-256 of a tarball, None for a folder. `note` is what an operator must know, empty
    where all is well.
    """

    project: Path
    origin: str
    commit: str | None
    note: str = ""


class PackageStore:
    """Gives the package of the options; not for several threads at once."""

    def __init__(self, options: TransformOptions) -> None:
        self._options = options

    def current(self) -> Package:
        """Return the package to run. Raises ChtSyncError where there is none."""
        return Package(self._options.project, self._options.url or "own", None)

    def update(self, now: float) -> Package | None:
        """Return the next version where there is one; None where nothing changed, or nothing is due yet.

        `now` is a monotonic clock's, in seconds.
        """
        return None
