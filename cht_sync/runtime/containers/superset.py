"""Bringing dashboards into the Superset of a container, and getting them out."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from cht_sync.errors import ChtSyncError
from cht_sync.runtime.containers.running import Installation

WITH_SETTINGS = "/srv/cht-sync/cht_sync/runtime/containers/with-settings"
PROVISION = "/srv/cht-sync/superset/provision"
EXPORT = (
    f'd="$(mktemp -d)" && {WITH_SETTINGS} python {PROVISION} export "$d" >&2 '
    '&& tar -C "$d" -cf - . && rm -r "$d"'
)
"""Files leave the container as an archive on standard output: `docker cp` does not see a tmpfs."""
TIMEOUT = 300.0


def import_assets(installation: Installation, *, overwrite: bool) -> list[str]:
    """Bring in the files of `superset/assets`; return what changed. Raises ChtSyncError."""
    words = [WITH_SETTINGS, "python", PROVISION, "import", *(["--overwrite"] if overwrite else [])]
    done = installation.compose.run("exec", "--no-TTY", "superset", *words, timeout=TIMEOUT)
    return done.splitlines()


def export_assets(installation: Installation, folder: Path) -> list[str]:
    """Write what is in Superset now into `folder`; return a line for each file. Raises ChtSyncError."""
    words = installation.compose.words("exec", "--no-TTY", "superset", "sh", "-c", EXPORT)
    done = subprocess.run(words, capture_output=True, timeout=TIMEOUT, check=False)
    said = done.stderr.decode(errors="replace").splitlines()
    if done.returncode != 0:
        raise ChtSyncError("superset: " + "\n".join(said[-5:] or ["the export failed"]))
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return said
