"""dbt's documentation of the models, made in the container of dbt and brought here."""

from __future__ import annotations

from pathlib import Path

from cht_sync.runtime.containers.running import Installation
from cht_sync.runtime.containers.superset import WITH_SETTINGS

PAGE = "dbt-docs.html"
TIMEOUT = 600.0


def export_docs(installation: Installation) -> Path:
    """Return the page, in the environment's folder. Raises ChtSyncError."""
    page = installation.settings.data_folder / PAGE
    words = ("exec", "--no-TTY", "dbt", WITH_SETTINGS, "cht-sync", "dbt", "docs")
    (*_log, place) = installation.compose.run(*words, timeout=TIMEOUT).splitlines()
    installation.compose.run("cp", f"dbt:{place}", str(page), timeout=TIMEOUT)
    return page
