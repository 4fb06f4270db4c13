"""What a package depends on: `dbt deps`, and a cache of what it installed.

The cache is keyed by the files that say what is needed, so that a start without a network, and a new
version that needs the same, find theirs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cht_sync.errors import ChtSyncError
from cht_sync.files import private_folder
from cht_sync.transform.package.dbt_process import one_line, run_dbt
from cht_sync.transform.package.folder import contents, copy

INSTALLED = "dbt_packages"
"""Where in a project its dependencies are."""
LOCK = "package-lock.yml"
TIMEOUT = 300.0
"""Seconds that `dbt deps` may take."""
FRESH = 86_400.0
"""Seconds for which a cache without a lock file is used without asking: branches and ranges move."""
CACHES_KEPT = 5


class Dependencies:
    """Installs what a project names in packages.yml or dependencies.yml; `folder` holds the cache.

    `environment` is that of `dbt deps`.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment

    def install(self, project: Path, original: Path) -> str:
        """Fill `project`/dbt_packages; return what an operator must know of it, empty where all is well.

        `project` is a copy of `original`: what that names by relative paths is beside it. What a
        package brings along in dbt_packages is used as it is. Raises ChtSyncError.
        """
        named = [name for name in ("packages.yml", "dependencies.yml") if (project / name).is_file()]
        if not any(_packages(project / name) for name in named) or _has_files(project / INSTALLED):
            return ""
        shutil.rmtree(project / INSTALLED, ignore_errors=True)
        digest = hashlib.sha256()
        for name in named:
            for folder in _point_to_original(project / name, project, original):
                digest.update(contents(folder).encode())
            digest.update((project / name).read_bytes())
        locked = (project / LOCK).is_file()
        if locked:
            digest.update((project / LOCK).read_bytes())
        cached = self._folder / digest.hexdigest()[:16]
        if cached.is_dir() and (locked or time.time() - cached.stat().st_mtime < FRESH):
            copy(cached, project / INSTALLED)
            return ""
        try:
            self._deps(project)
        except ChtSyncError as error:
            if not cached.is_dir():
                raise
            copy(cached, project / INSTALLED)
            return f"its dependencies cannot be brought up to date ({error}); those installed before are used"
        self._keep(project / INSTALLED, cached)
        shutil.rmtree(project / INSTALLED)
        copy(cached, project / INSTALLED)
        return ""

    def _deps(self, project: Path) -> None:
        try:
            run_dbt(["deps", f"--project-dir={project}"], environment=self._environment, timeout=TIMEOUT)
        except ChtSyncError as error:
            raise ChtSyncError(f"dbt deps: {error}") from error

    def _keep(self, installed: Path, cached: Path) -> None:
        """Copy, without links, what was installed; a cache is whole or not there."""
        private_folder(self._folder)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".new-") as work:
            new = Path(work, "packages")
            copy(installed, new)
            shutil.rmtree(cached, ignore_errors=True)
            new.rename(cached)
        os.utime(cached)
        caches = sorted(self._folder.glob("[!.]*"), key=lambda path: path.stat().st_mtime)
        for old in caches[:-CACHES_KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping, empty where the file is. Raises ChtSyncError."""
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ChtSyncError(f"{path.name} cannot be read: {one_line(str(error))}") from error
    if found is not None and not isinstance(found, dict):
        raise ChtSyncError(f"{path.name} is no mapping")
    return found or {}


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _packages(path: Path) -> list[Any]:
    packages = read_yaml(path).get("packages")
    return packages if isinstance(packages, list) else []


def _point_to_original(path: Path, project: Path, original: Path) -> list[Path]:
    """Make relative folders outside of a project absolute; return all folders that it names."""
    content = read_yaml(path)
    folders = []
    changed = False
    for package in content.get("packages") or ():
        if not isinstance(package, dict) or not isinstance(package.get("local"), str):
            continue
        folder = Path(os.path.normpath(original / package["local"]))
        if folder.is_relative_to(original):
            folder = project / folder.relative_to(original)
        elif project == original:
            raise ChtSyncError(f"{path.name}: {package['local']} leads out of the package")
        else:
            package["local"] = str(folder)
            changed = True
        if not folder.is_dir():
            raise ChtSyncError(f"{path.name}: there is no folder {package['local']}")
        folders.append(folder)
    if changed:
        write_yaml(path, content)
    return folders


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
