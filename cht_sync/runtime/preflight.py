"""What an environment needs of other people's servers, asked before anything is started or changed.

A CouchDB that is away only warns: a machine that starts at night while CouchDB is down must come up and wait.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from cht_sync.errors import ChtSyncError, SettingsError, sentences
from cht_sync.runtime import postgresql_access
from cht_sync.runtime.couchdb_access import CouchdbAccess, Kind, Trouble
from cht_sync.settings import Settings

HOST_OF_CONTAINERS = "host.docker.internal"


@dataclass
class Found:
    """`problems` keep an environment from starting, `warnings` do not; each is one line with what to do."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def refuse(settings: Settings, services: Collection[str]) -> list[str]:
    """Return the warnings. Raises SettingsError with one line for each problem, all at once."""
    found = look(settings, services)
    if found.problems:
        raise SettingsError(found.problems, hint="Nothing was started.")
    return found.warnings


def look(settings: Settings, services: Collection[str]) -> Found:
    """Ask what these services need and none of them is; the settings are as seen from this machine."""
    found = Found()
    if "postgres" not in services:
        _look_at_postgresql(settings, services, found)
    if "couchdb" not in services and "logstash" in services:
        _look_at_couchdb(settings, found)
    return found


def loaded(
    settings_of: Callable[[], Settings],
    settings_without: Callable[[Collection[str]], Settings],
    services: Collection[str],
) -> Settings:
    """Return what `settings_of` loads; where that refuses, ask the servers of others, too.

    So all is said at once. `settings_without` loads the settings without some, as seen from this machine.
    Raises SettingsError.
    """
    try:
        return settings_of()
    except SettingsError as error:
        raise _with_servers(error, settings_without, services) from error


def names_in(problems: Collection[str]) -> set[str]:
    """The settings that problems are about: each begins with one's name."""
    return {problem.partition(" ")[0].partition("=")[0] for problem in problems}


def _with_servers(
    error: SettingsError, settings_without: Callable[[Collection[str]], Settings], services: Collection[str]
) -> SettingsError:
    """A server is asked only where no setting that leads to it is among the problems.

    A password must not go where it was refused to go.
    """
    refused = names_in(error.problems)
    try:
        settings = settings_without(refused)
    except SettingsError:
        return error
    found = Found()

    def is_asked(*values: str, named: Collection[str]) -> bool:
        return all(values) and not any(name.startswith(tuple(named)) for name in refused)

    host, user, password = settings.postgres_host, settings.postgres_user, settings.postgres_password
    if "postgres" not in services and is_asked(host, user, password, named=("POSTGRES_", "DBT_POSTGRES_")):
        _look_at_postgresql(settings, services, found)
    host, user, password = settings.couchdb_host, settings.couchdb_user, settings.couchdb_password
    follows = "couchdb" not in services and "logstash" in services
    if follows and is_asked(host, user, password, named=("COUCHDB_",)):
        _look_at_couchdb(settings, found)
    return SettingsError([*error.problems, *found.problems], hint=error.hint)


def _look_at_postgresql(settings: Settings, services: Collection[str], found: Found) -> None:
    # A pipeline alone, whose PostgREST is elsewhere, may be where PostgreSQL cannot be reached.
    if not {"postgrest", "dbt", "superset"} & {*services}:
        return
    try:
        postgresql_access.check_owner(settings)
    except ChtSyncError as error:
        found.problems.append(sentences(error))
    if "dbt" in services and (problem := postgresql_access.models_elsewhere(settings)):
        found.problems.append(problem)


def _look_at_couchdb(settings: Settings, found: Found) -> None:
    """Ask for one database after the other, and for no other after a refused login: six lock the account."""
    with CouchdbAccess(settings) as couchdb:
        for database in settings.couchdb_dbs:
            answer = couchdb.database(database)
            if not isinstance(answer, Trouble):
                continue
            if answer.kind in (Kind.AWAY, Kind.UNTRUSTED):
                told = answer.message if answer.kind is Kind.AWAY else answer.line
                found.warnings.append(f"{told}; the pipelines wait for it")
                return
            if answer.line not in found.problems:
                found.problems.append(answer.line)


def from_here(settings: Settings) -> Settings:
    """The settings of containers as this machine sees them."""

    def seen(host: str) -> str:
        return "127.0.0.1" if host == HOST_OF_CONTAINERS else host

    return dataclasses.replace(
        settings,
        couchdb_host=seen(settings.couchdb_host),
        postgres_host=seen(settings.postgres_host),
        dbt_postgres_host=seen(settings.dbt_postgres_host),
    )
