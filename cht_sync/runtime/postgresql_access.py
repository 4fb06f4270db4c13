"""What is asked of a PostgreSQL before something is started, or when something is wrong."""

from __future__ import annotations

from cht_sync.errors import ChtSyncError
from cht_sync.runtime.protocols import Protocol, spoken
from cht_sync.settings import Settings
from cht_sync.warehouse import schema
from cht_sync.warehouse.connection import dbt_endpoint, owner_endpoint


def check_owner(settings: Settings) -> None:
    """Raises ChtSyncError where POSTGRES_USER is not let in, or there is no database and none can be made."""
    endpoint = owner_endpoint(settings)
    try:
        schema.check_database(endpoint)
    except ChtSyncError as error:
        if endpoint.unreachable() is None:
            raise
        found = spoken(endpoint.host, endpoint.port)
        if found in (None, Protocol.POSTGRESQL):
            raise
        raise ChtSyncError(
            f"{error}; what listens there speaks {found}", hint="Correct POSTGRES_HOST and POSTGRES_PORT."
        ) from error


def models_elsewhere(settings: Settings) -> str | None:
    """Why no PostgreSQL answers at DBT_POSTGRES_HOST, in one line; None where one does, or it is not set.

    The role of the models may still have to be made, so only the server is asked for.
    """
    other = settings.dbt_postgres_host
    if not other or other == settings.postgres_host:
        return None
    problem = dbt_endpoint(settings).unreachable()
    return problem and f"{problem}; check DBT_POSTGRES_HOST"
