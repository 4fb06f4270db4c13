"""What `up` records of an environment of containers, for other commands: `.cht-sync/docker.json`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.files import private_folder, write_atomically

FILE = "docker.json"


class Recorded(msgspec.Struct, frozen=True):
    """`files` are the compose files, `ports` what is published on this machine, by service."""

    environment: Environment
    project: str
    files: list[str]
    ports: dict[str, int]
    without: list[str]
    given: dict[str, str]
    """The settings that `up` was given, as text by variable."""


def read(folder: Path) -> Recorded | None:
    """Return what was recorded in the state folder; None where nothing was. Raises ChtSyncError."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Recorded)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ChtSyncError(
            f"{folder / FILE} cannot be read: {error}",
            hint="Delete that file if none of the project's containers run (docker compose ls).",
        ) from error


def write(folder: Path, recorded: Recorded) -> None:
    """Record it."""
    write_atomically(private_folder(folder) / FILE, msgspec.json.format(msgspec.json.encode(recorded)))


def forget(folder: Path) -> None:
    """Nothing runs any more."""
    (folder / FILE).unlink(missing_ok=True)
