"""Whether a package can be had, without keeping any of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cht_sync.errors import ChtSyncError
from cht_sync.transform.package.address import Kind, check_address, parse_address
from cht_sync.transform.package.git import GitSource
from cht_sync.transform.package.prepare import PROJECT_FILE
from cht_sync.transform.package.tarball import TarballSource


def look(url: str, token: str) -> str:
    """Return what the address means now, in a few words.

    Of a repository only the revision is asked for; a tarball is downloaded and unpacked, and thrown away.
    Raises SettingsError for an address that cannot be used, else ChtSyncError.
    """
    check_address(url)
    address = parse_address(url)
    try:
        if address.kind is Kind.FOLDER:
            return f"{address.origin}, a folder"
        if address.kind is Kind.GIT:
            return f"{address.origin} at {GitSource(address, token).newest()[:12]}"
        with tempfile.TemporaryDirectory(prefix="cht-sync-") as work:
            source = TarballSource(address, token, Path(work))
            version = source.newest()
            source.fetch(version, Path(work, "unpacked"))
            if not Path(work, "unpacked", PROJECT_FILE).is_file():
                raise ChtSyncError(f"it holds no {PROJECT_FILE} in its root")
            return f"{address.origin}, a tarball, at {version[:12]}"
    except ChtSyncError as error:
        raise ChtSyncError(f"package {address.origin}: {error}", hint=error.hint) from error
