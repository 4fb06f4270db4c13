"""Makes the CouchDB of `local` what a CHT's is: a single node with its system databases, and the others."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import requests

from cht_sync.errors import ChtSyncError
from cht_sync.logins import basic
from cht_sync.settings import Settings

SYSTEM_DATABASES = ("_users", "_replicator", "_global_changes")
"""What CouchDB's documentation ("Single Node Setup") makes by hand."""
CREATED, EXISTS = (201, 202), 412
TIMEOUT = 30.0


def set_up(settings: Settings) -> Iterator[str]:
    """Make what is missing; give a line for each thing made. Raises ChtSyncError."""
    with requests.Session() as session:
        session.trust_env = False
        session.auth = basic(settings.couchdb_user, settings.couchdb_password)
        for database in (*SYSTEM_DATABASES, *settings.couchdb_dbs):
            try:
                answer = session.put(f"{settings.couchdb_url}/{quote(database, safe='')}", timeout=TIMEOUT)
            except requests.RequestException as error:
                raise ChtSyncError(
                    f"CouchDB at {settings.couchdb_url} does not answer: {type(error).__name__}",
                    hint="See: cht-sync logs couchdb",
                ) from error
            if answer.status_code in CREATED:
                yield f"{database}: made"
            elif answer.status_code != EXISTS:
                raise ChtSyncError(
                    f"CouchDB does not make {database}: {answer.status_code} {answer.text.strip()[:300]}"
                )
