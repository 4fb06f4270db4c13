"""Which of the two ways to run an environment: containers, or processes of this machine."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.pipeline.couchdb import refusals
from cht_sync.runtime import chosen, control
from cht_sync.runtime.containers import recorded, running
from cht_sync.runtime.containers.available import unavailable
from cht_sync.settings import STATE_FOLDER, load

DOCKER, EMBEDDED = running.RUNTIME, "embedded"


def choose(wanted: str, environment: Environment, *, home: Path, without: Collection[str]) -> tuple[str, str]:
    """Return the runtime for `auto`, `docker` or `embedded`, and why.

    What is running already stays as it is, and so does an environment that was stopped: the two share no
    data, so that the other one would begin anew. Raises SettingsError, or ChtSyncError when the other runs.
    """
    folder = home / STATE_FOLDER
    runs = EMBEDDED if control.running(folder) else DOCKER if recorded.read(folder) else None
    if runs is not None and wanted in ("auto", runs):
        return runs, "as it was started"
    if runs is not None:
        raise ChtSyncError(f"it runs here already, as {runs}", hint="End it first: cht-sync down")
    if wanted != "auto":
        return wanted, "as asked for"
    if kept := _kept(folder, environment):
        return kept, "where its data are"
    settings = load(environment, home=home, needs=chosen.demanded(without))
    why_not = unavailable(settings, chosen.names(environment, without))
    return (DOCKER, "all images can be had") if why_not is None else (EMBEDDED, why_not)


def _kept(folder: Path, environment: Environment) -> str | None:
    """The one in which an environment was stopped; None where neither or both have its data."""
    found = {
        DOCKER: recorded.read(folder / DOCKER / environment.value) is not None,
        EMBEDDED: _has_data(folder / environment.value),
    }
    having = [runtime for runtime, there in found.items() if there]
    return having[0] if len(having) == 1 else None


def _has_data(folder: Path) -> bool:
    """Whether something was started there: a refused login is remembered before anything is."""
    return folder.is_dir() and [one.name for one in folder.iterdir()] != [refusals.FILE]
