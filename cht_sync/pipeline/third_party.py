"""Plugins of other Python packages, found by their entry points.

A package names the module of each plugin in one of four groups; the module registers the plugin as the
engine's own do::

    [project.entry-points."cht_sync.filters"]
    last_characters = "my_package.last_characters"

Nothing is imported before a configuration names the plugin. The engine's own plugins are looked for first, so
none can be replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from cht_sync.errors import ChtSyncError, ConfigError

GROUPS = {
    "input": "cht_sync.inputs",
    "filter": "cht_sync.filters",
    "output": "cht_sync.outputs",
    "codec": "cht_sync.codecs",
}
"""The group of entry points for each kind of plugin."""


class Broken(Exception):
    """A plugin of another package that cannot be used; the text goes on after kind and name."""


def offered(kind: str) -> set[str]:
    """Return the names that installed packages offer; nothing is imported."""
    return set(entry_points(group=GROUPS[kind]).names)


def load(kind: str, name: str) -> str | None:
    """Import the module of a plugin; return its package, with version, None where nobody offers it.

    Raises Broken.
    """
    # A package may be seen twice, installed and in the current folder.
    found = {one.value: one for one in entry_points(group=GROUPS[kind], name=name)}
    if not found:
        return None
    packages = sorted({_package(one) for one in found.values()})
    if len(found) > 1:
        raise Broken(f"is offered by several packages: {', '.join(packages)}; uninstall all but one")
    (package,) = packages
    try:
        next(iter(found.values())).load()
    except (Exception, SystemExit) as error:
        # Whatever it is, it must not end pipelines that do not use the plugin.
        raise Broken(f"of {package} cannot be loaded: {type(error).__name__}: {error}") from error
    return package


def guarded(package: str, build: Callable[..., Any]) -> Callable[..., Any]:
    """Return the builder with its own errors turned into a ConfigError that names the package."""

    @wraps(build)
    def build_guarded(options: Any, context: Any) -> Any:
        try:
            return build(options, context)
        except ChtSyncError:
            raise
        except Exception as error:
            raise ConfigError(f"{package} cannot build it: {type(error).__name__}: {error}") from error

    return build_guarded


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value
