"""Which dbt package is run: CHT_PIPELINE_BRANCH_URL, or our own."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from cht_sync.errors import SettingsError

VARIABLE = "CHT_PIPELINE_BRANCH_URL"


def locate_package(url: str | None, own: Path) -> Path:
    """Return the folder of the dbt project: `own` where `url` is unset or empty.

    `url` is a folder's path or a `file://` URL of one. Raises SettingsError for a folder that holds
    no dbt project, and for an address that would have to be downloaded.
    """
    if not url:
        return own
    parts = urlsplit(url)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost") or parts.fragment:
        raise SettingsError(
            [f"{VARIABLE}: packages from a git repository are not supported by this version"],
            hint=f"clone it and give the folder, such as {VARIABLE}=/srv/cht-pipeline; "
            "without the variable our own package is used",
        )
    folder = Path(unquote(parts.path) if parts.scheme else url).expanduser()
    if not (folder / "dbt_project.yml").is_file():
        raise SettingsError([f"{VARIABLE}: {folder} holds no dbt_project.yml"])
    return folder.absolute()
