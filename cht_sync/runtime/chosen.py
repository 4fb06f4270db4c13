"""Which services an environment starts where some are left out, and what it must be told then."""

from __future__ import annotations

from collections.abc import Collection

from cht_sync.environments import SERVICES, Environment
from cht_sync.errors import SettingsError
from cht_sync.settings import SUPERSET, Settings, declared


def demanded(without: Collection[str]) -> Collection[str] | None:
    """The variables that are needed where some services are left out; None: all."""
    if "superset" not in without:
        return None
    return [name for name, variable in declared() if variable.group != SUPERSET]


def names(environment: Environment, without: Collection[str]) -> tuple[str, ...]:
    """The services of an environment but those that are left out, in order."""
    return tuple(name for name in SERVICES[environment] if name not in without)


def service_names(settings: Settings, without: Collection[str]) -> tuple[str, ...]:
    """The services to start, in order. Raises SettingsError when what is left out is set nowhere else."""
    wanted = names(settings.environment, without)
    if "couchdb" not in wanted:
        # Documents of fictional people have no place in somebody's CouchDB, nor behind a tunnel to it.
        wanted = tuple(name for name in wanted if name != "data-generator")
    problems = []
    if "postgres" not in wanted and not settings.postgres_host:
        problems.append(
            "POSTGRES_HOST is required without postgres; for example POSTGRES_HOST=postgres.example.org"
        )
    if "logstash" in wanted and "postgrest" not in wanted and not settings.http_endpoint:
        problems.append(
            "HTTP_ENDPOINT is required without postgrest; for example HTTP_ENDPOINT=example.org:3000"
        )
    if problems:
        raise SettingsError(problems)
    return wanted
