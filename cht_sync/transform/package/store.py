"""The package that is run, and its next version."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cht_sync.errors import ChtSyncError
from cht_sync.logs import fields
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.package.address import OWN, Address, Kind, parse_address
from cht_sync.transform.package.dependencies import Dependencies
from cht_sync.transform.package.folder import FolderSource
from cht_sync.transform.package.git import GitSource, git_environment
from cht_sync.transform.package.prepare import check, preparation_id, prepare, process_environment
from cht_sync.transform.package.shelf import Kept, Shelf
from cht_sync.transform.package.tarball import TarballSource

RETRY_BROKEN = 3600.0
"""Seconds after which a version that could not be used is tried again."""
PROTOCOLS_OF_DEPENDENCIES = "https:http:file:git:ssh"

log = logging.getLogger(__name__)


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

    @property
    def version(self) -> str:
        """Another one for each content of a package, also of a folder: the name of its copy."""
        return self.project.name


class Source(Protocol):
    """Where versions come from. Both methods raise ChtSyncError, without naming the origin."""

    def newest(self) -> str: ...

    def fetch(self, version: str, into: Path) -> None: ...


class PackageStore:
    """Gives the package of the options, and looks for new versions of it; not for several threads at once.

    What it needs to keep is below `work_folder`/package. A folder of the operator's is never written:
    what runs is a copy. Raises SettingsError for an address that cannot be used.
    """

    def __init__(self, options: TransformOptions) -> None:
        self._options = options
        self._address = parse_address(options.url) if options.url else None
        given = self._address.path if self._address and self._address.kind is Kind.FOLDER else None
        self._original = given or options.project
        self._origin = self._address.origin if self._address else OWN
        self._shelf = Shelf(options.work_folder / "package")
        self._source = self._source_of(self._address)
        self._package: Package | None = None
        self._looked_at = ""
        self._broken: tuple[str, str, float] | None = None
        self._away_since: datetime | None = None
        self._next_look: float | None = None
        self._look: _Look | None = None

    @property
    def note(self) -> str:
        """What an operator must know now, as in Package.note; it may change without a new package."""
        return self._package.note if self._package else ""

    @property
    def looking(self) -> bool:
        """Whether a look for a new version is under way."""
        return self._look is not None and self._look.lasts

    def current(self) -> Package:
        """Return the package to run; the first time the newest version is fetched.

        Where that cannot be had, or is broken, the last good copy is given, with a note. Raises
        ChtSyncError where there is none.
        """
        if self._package is None:
            self._package = self._told(self._newest())
        return self._package

    def update(self, now: float) -> Package | None:
        """Return the next version where there is one; None where nothing changed, or nothing is due yet.

        `now` is a monotonic clock's, in seconds. Looking, fetching and checking go on in the
        background; what that finds is given by a later call.
        """
        before = self.current()
        if self._look is not None:
            if self.looking:
                return None
            found, self._look = self._look.found or replace(before, note=self._look.trouble), None
            self._package = self._told(found)
            return found if found.project != before.project else None
        if self._due(now):
            self._look = _Look(self._newest)
        return None

    def _due(self, now: float) -> bool:
        if self._options.update_interval == 0:
            return False
        if self._address is None or self._address.kind is Kind.FOLDER:
            try:
                version = self._source.newest()
            except ChtSyncError:
                return self._away_since is None
            if self._broken and self._broken[0] == version:
                return time.monotonic() >= self._broken[2]
            return version != self._looked_at or self._away_since is not None
        if self._next_look is not None and now < self._next_look:
            return False
        first = self._next_look is None
        self._next_look = now + self._options.update_interval
        return not first

    def _newest(self) -> Package:
        try:
            with self._shelf.locked():
                return self._newest_of(self._shelf.good(self._origin))
        except OSError as error:
            raise ChtSyncError(f"package {self._origin}: {error}") from error

    def _newest_of(self, good: Kept | None) -> Package:
        try:
            version = self._source.newest()
        except ChtSyncError as error:
            if good is None:
                raise self._named(error) from error
            self._away_since = self._away_since or datetime.now(UTC)
            since = self._away_since.isoformat(sep=" ", timespec="seconds")
            return self._of(
                good, f"not reachable since {since} ({error}); the copy of {_short(good)} is used"
            )
        self._away_since = None
        self._looked_at = version
        key = f"{version} {preparation_id()}"
        if good is not None and good.key == key:
            return self._of(good)
        if (
            good is not None
            and self._broken
            and self._broken[0] == version
            and time.monotonic() < self._broken[2]
        ):
            return self._of(good, self._broken[1])
        try:
            return self._of(
                self._shelf.add(self._origin, version, key, lambda into: self._make(version, into, good))
            )
        except ChtSyncError as error:
            if good is None:
                raise self._named(error) from error
            note = f"version {version[:12]} cannot be used: {error}; {_short(good)} goes on"
            self._broken = version, note, time.monotonic() + RETRY_BROKEN
            return self._of(good, note)

    def _make(self, version: str, into: Path, good: Kept | None) -> str:
        self._source.fetch(version, into)
        local = self._address is None or self._address.kind is Kind.FOLDER
        note = prepare(into, self._original if local else into, self._dependencies())
        if good is not None and self._address is not None:
            check(into, self._options, process_environment(self._options))
        return note

    def _dependencies(self) -> Dependencies:
        environment = process_environment(self._options)
        if self._address is not None:
            ours = git_environment(self._address, self._options.token, protocols=PROTOCOLS_OF_DEPENDENCIES)
            environment = {**ours, **self._options.environment()}
        return Dependencies(self._shelf.folder / "dependencies", environment)

    def _source_of(self, address: Address | None) -> Source:
        if address is None or address.kind is Kind.FOLDER:
            return FolderSource(self._original, self._options.work_folder.absolute())
        if address.kind is Kind.GIT:
            return GitSource(address, self._options.token)
        return TarballSource(address, self._options.token, self._shelf.folder)

    def _of(self, kept: Kept, note: str = "") -> Package:
        folder = self._address is None or self._address.kind is Kind.FOLDER
        notes = "; ".join(one for one in (kept.note, note) if one)
        return Package(self._shelf.project(kept), kept.origin, None if folder else kept.version, notes)

    def _told(self, package: Package) -> Package:
        """Say once what is new of the package: its version, its note."""
        before = self._package
        if before is None or before.project != package.project:
            where = f" at {package.commit[:12]}" if package.commit else ""
            changed = fields(event="package_changed", package=package.origin)
            log.info("package %s%s", package.origin, where, extra=changed)
        if package.note and (before is None or _cause(before.note) != _cause(package.note)):
            failed = fields(event="package_failed", package=package.origin, error=package.note)
            log.warning("package %s: %s", package.origin, package.note, extra=failed)
        elif before is not None and before.note and not package.note:
            log.info("package %s: all is well again", package.origin)
        return package

    def _named(self, error: ChtSyncError) -> ChtSyncError:
        return ChtSyncError(f"package {self._origin}: {error}", hint=error.hint)


class _Look:
    """A look for a new version, in a thread of its own; it ends with the process, wherever it is."""

    def __init__(self, newest: Callable[[], Package]) -> None:
        self._newest = newest
        self.found: Package | None = None
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="package", daemon=True)
        self._thread.start()

    @property
    def lasts(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.found = self._newest()
        except ChtSyncError as error:
            self.trouble = error.message


def _short(kept: Kept) -> str:
    """A version as people name it: a commit in short."""
    return f"version {kept.version[:12]}"


def _cause(note: str) -> str:
    """A note without its times."""
    return re.sub(r"since [0-9: +-]+", "", note)
