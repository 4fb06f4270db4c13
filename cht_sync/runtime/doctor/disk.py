"""Room on the disks that are written to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cht_sync.files import disk_free
from cht_sync.runtime.doctor.finding import Finding, Findings, failed, ok, warning
from cht_sync.runtime.doctor.situation import DOCKER, Situation
from cht_sync.settings import STATE_FOLDER

GIGABYTE = 10**9
FEW_INODES = 10_000
"""Files that can still be made; dbt and Superset write some thousands."""
REMEDY = "Free some: du --max-depth=2 --human-readable {place}"


@dataclass(frozen=True)
class _Place:
    """A folder that is written to, and the bytes below which that is told, and below which it fails."""

    what: str
    folder: Path
    little: int
    too_little: int


def room(situation: Situation) -> Findings:
    """One finding for each file system that is written to, of the first place there."""
    seen = set()
    for place in _places(situation):
        there = next(one for one in (place.folder, *place.folder.parents) if one.exists())
        device = there.stat().st_dev
        if device not in seen:
            seen.add(device)
            yield _judged(place, there)


def _places(situation: Situation) -> Iterator[_Place]:
    state = situation.home / STATE_FOLDER
    yield _Place("state and logs", state, 5 * GIGABYTE, GIGABYTE)
    if situation.settings is not None and situation.runtime != DOCKER:
        data = situation.settings.data_folder
        yield _Place("PostgreSQL's data", data / "postgres", 5 * GIGABYTE, GIGABYTE)
        yield _Place("dead letters", data / "logstash" / "data" / "dead_letter_queue", 5 * GIGABYTE, GIGABYTE)
    yield _Place("temporary files", Path(tempfile.gettempdir()), GIGABYTE, GIGABYTE // 10)


def _judged(place: _Place, there: Path) -> Finding:
    if not os.access(there, os.W_OK):
        return failed(f"{there} ({place.what}) cannot be written", f"Make it yours: sudo chown $USER {there}")
    status = os.statvfs(there)
    if status.f_files and status.f_favail < FEW_INODES:
        return failed(
            f"{status.f_favail} more files fit where {place.what} are ({there})",
            f"Delete some: du --inodes --max-depth=2 {there}",
        )
    free = disk_free(there)
    if free is None:
        return warning(f"{there} ({place.what}): the free space cannot be seen", f"See: df {there}")
    said = f"{free / GIGABYTE:.1f} GB free where {place.what} are ({there})"
    if free < place.too_little:
        return failed(said, REMEDY.format(place=there))
    if free < place.little:
        return warning(said, REMEDY.format(place=there))
    return ok(said)
