"""Moving from couch2pg, cht-sync 2 and cht-sync of 2023."""

from __future__ import annotations

from cht_sync.cli.group import main
from cht_sync.cli.migrate_views import migrate_views


@main.group(short_help="Move from couch2pg, cht-sync 2 or cht-sync of 2023.")
def migrate() -> None:
    """Take over what couch2pg, cht-sync 2 or cht-sync of 2023 have stored, without reading it all again.

    Their tables and views are only read, and they may go on running meanwhile.
    """


migrate.add_command(migrate_views)
