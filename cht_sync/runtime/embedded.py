"""The embedded runtime: every service of an environment as a local process."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from cht_sync.environments import SERVICES, Environment
from cht_sync.errors import SettingsError
from cht_sync.runtime import credentials, ports
from cht_sync.runtime import state as states
from cht_sync.runtime.couchdb import CouchdbServer
from cht_sync.runtime.data_generator import DataGenerator
from cht_sync.runtime.dbt import Dbt
from cht_sync.runtime.logstash import Logstash
from cht_sync.runtime.postgres import Postgres
from cht_sync.runtime.postgrest import Postgrest
from cht_sync.runtime.service import Service
from cht_sync.runtime.state import EnvironmentState
from cht_sync.runtime.supervisor import Supervisor, stop_leftovers
from cht_sync.settings import Settings, default_home, load

NOT_EMBEDDED = frozenset({"superset"})
"""Services that this version cannot start as local processes."""
LOOPBACK = "127.0.0.1"
OWN_HOSTS = ("localhost", LOOPBACK, "[::1]")


def load_settings(
    environment: Environment, *, home: Path | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Load the settings; `local` has secrets of its own where none are set."""
    home = home or default_home()
    settings = load(environment, home=home, environ=environ)
    if environment is not Environment.LOCAL:
        return settings
    # Made only now: settings that are refused leave nothing behind.
    kept = credentials.kept_secrets(home / ".cht-sync")
    return load(environment, home=home, environ=environ, kept_secrets=kept)


def service_names(settings: Settings, without: Collection[str]) -> tuple[str, ...]:
    """The services to start, in order. Raises SettingsError when what is left out is set nowhere else."""
    names = tuple(
        name for name in SERVICES[settings.environment] if name not in without and name not in NOT_EMBEDDED
    )
    if "couchdb" not in names and settings.couchdb_host not in OWN_HOSTS:
        # Documents of fictional people have no place in somebody's CouchDB.
        names = tuple(name for name in names if name != "data-generator")
    problems = []
    if "postgres" not in names and not settings.postgres_host:
        problems.append(
            "POSTGRES_HOST is required without postgres; for example POSTGRES_HOST=postgres.example.org"
        )
    if "logstash" in names and "postgrest" not in names and not settings.http_endpoint:
        problems.append(
            "HTTP_ENDPOINT is required without postgrest; for example HTTP_ENDPOINT=example.org:3000"
        )
    if problems:
        raise SettingsError(problems)
    return names


def placed(settings: Settings, names: Collection[str]) -> Settings:
    """The settings as seen by services that find each other here.

    What is started here is used, whatever the settings say of other places: a `.env` that names the real
    CouchDB or PostgreSQL must never make `local` read from there, or write to it.
    """
    places: dict[str, Any] = {}
    if "couchdb" in names:
        places |= {"couchdb_host": "localhost", "couchdb_secure": False, "couchdb_path": ""}
    if "postgres" in names:
        places |= {"postgres_host": LOOPBACK, "dbt_postgres_host": LOOPBACK, "postgres_sslmode": "disable"}
    if "postgrest" in names and settings.environment is Environment.LOCAL:
        places |= {"http_endpoint": ""}
    return dataclasses.replace(settings, **places)


def plan(
    settings: Settings, without: Collection[str], take: ports.Take = ports.is_free
) -> tuple[Settings, list[Service]]:
    """The services to start, and the settings with which they find each other; starts nothing.

    `take` says whether a port may be used. What a killed supervisor left behind is stopped first: it may
    hold the ports. The caller holds the environment (`state.only_one`). Raises SettingsError and
    ServiceError.
    """
    before = states.read(settings.state_folder)
    ports_before: dict[str, int] = {}
    if before is not None:
        stop_leftovers(before)
        ports_before = {one.name: one.port for one in before.services if one.port is not None}
    names = service_names(settings, without)
    settings = ports.choose(placed(settings, names), names, ports_before, take)
    return settings, services(settings, names)


def services(settings: Settings, names: Collection[str]) -> list[Service]:
    """Make the services, in the order in which they start. Raises SettingsError and ServiceError."""
    makers: dict[str, Callable[[], Service]] = {
        "postgres": lambda: Postgres(
            settings.state_folder / "postgres",
            port=settings.postgres_port,
            user=settings.postgres_user,
            password=settings.postgres_password,
        ),
        "couchdb": lambda: CouchdbServer(settings),
        "postgrest": lambda: Postgrest(settings),
        "logstash": lambda: Logstash(settings),
        "data-generator": lambda: DataGenerator(settings),
        "dbt": lambda: Dbt(settings, wait_for_documents="data-generator" in names),
    }
    return [makers[name]() for name in names]


def supervise(environment: Environment, *, without: Sequence[str], home: Path, stop: threading.Event) -> None:
    """Run the environment in this process until `stop` is set. Raises ChtSyncError when it cannot start."""
    settings = load_settings(environment, home=home)
    with states.only_one(settings.state_folder), closing(ports.Reservations()) as reservations:
        settings, planned = plan(settings, without, reservations.take)
        if any(service.name == "postgres" for service in planned):
            credentials.write_for_tools(settings)
        Supervisor(environment, planned, settings.state_folder, without=without, given=settings.given).run(
            stop
        )


def recorded_settings(state: EnvironmentState, home: Path) -> Settings:
    """The settings of a running environment, with the places where its services really are."""
    settings = load_settings(state.environment, home=home, environ=state.given)
    taken: dict[str, Any] = {
        ports.PORT_SETTINGS[one.name]: one.port
        for one in state.services
        if one.port is not None and one.name in ports.PORT_SETTINGS
    }
    return dataclasses.replace(placed(settings, [one.name for one in state.services]), **taken)
