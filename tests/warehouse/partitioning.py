"""What an operator types to partition a table."""

from __future__ import annotations

from pathlib import Path

from cht_sync import process
from cht_sync.errors import ChtSyncError
from warehouse.installation import CHECKOUT, Installation

SCRIPT: Path = CHECKOUT / "postgres" / "partition-table.sql"


def partition(
    installation: Installation,
    count: int | str = 4,
    *,
    table: str = "medic",
    login: tuple[str, str] | None = None,
    **variables: str,
) -> str:
    """Run the script, and return what it says. Raises ChtSyncError with what psql said."""
    user, password = login or (installation.server.user, installation.server.password)
    settings = {"table": table, "partitions": str(count), **variables}
    return process.run(
        [
            *("psql", "--no-psqlrc", "--username", user, "--dbname", installation.name),
            *(word for name, value in settings.items() for word in ("--set", f"{name}={value}")),
            *("--file", SCRIPT),
        ],
        env=installation.environment(table) | {"PGPASSWORD": password},
    )


def refusal(installation: Installation, count: int | str = 4, **options: str) -> str:
    """What the script says when it refuses."""
    try:
        partition(installation, count, **options)
    except ChtSyncError as error:
        return str(error)
    raise AssertionError(f"{count} partitions were made")
