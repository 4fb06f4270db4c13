"""dbt's own documentation of the package: its models, their columns, and what reads what."""

from __future__ import annotations

import json
from pathlib import Path

from cht_sync.errors import ChtSyncError
from cht_sync.files import private_folder
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.package import PackageStore
from cht_sync.transform.package.dbt_process import run_dbt
from cht_sync.transform.package.prepare import process_environment

PAGE = "static_index.html"
"""What dbt calls a page that needs no web server."""
TIMEOUT = 600.0
"""Seconds."""


def generate_docs(options: TransformOptions) -> Path:
    """Write the documentation below `work_folder`, and return its page; no model is run.

    Columns are those of the tables that are in PostgreSQL now. Raises ChtSyncError where there is no
    package, it cannot be parsed, or PostgreSQL cannot be reached.
    """
    package = PackageStore(options).current()
    folder = private_folder(options.work_folder / "docs")
    words = [
        "docs",
        "generate",
        "--static",
        f"--target-path={folder}",
        f"--project-dir={package.project}",
        f"--profiles-dir={options.profiles}",
        f"--vars={json.dumps(options.variables())}",
    ]
    try:
        run_dbt(words, environment=process_environment(options), timeout=TIMEOUT)
    except ChtSyncError as error:
        raise ChtSyncError(
            f"dbt docs generate: {error}", hint="Is PostgreSQL running? See: cht-sync status"
        ) from error
    return folder / PAGE
