"""The embedded runtime: every service of an environment as a local process."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cht_sync.environments import SERVICES, Environment
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


def load_settings(
    environment: Environment, *, home: Path | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Load the settings; `local` has secrets of its own where none are set."""
    settings_home = home or default_home()
    kept = credentials.kept_secrets(settings_home / ".cht-sync") if environment is Environment.LOCAL else None
    return load(environment, home=settings_home, environ=environ, kept_secrets=kept)


def service_names(environment: Environment, without: Collection[str]) -> tuple[str, ...]:
    """The services to start, in order."""
    return tuple(name for name in SERVICES[environment] if name not in without and name not in NOT_EMBEDDED)


def effective(settings: Settings, names: Collection[str], ports_before: Mapping[str, int]) -> Settings:
    """The settings with the places where the services of `names` really are."""
    chosen = ports.choose(settings, names, dict(ports_before))
    if "postgres" in names:
        chosen = dataclasses.replace(chosen, postgres_host=LOOPBACK, postgres_sslmode="disable")
    return chosen


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
    """Run the environment in this process until `stop` is set. Raises ChtSyncError when it cannot start.

    What a killed predecessor left behind is stopped first.
    """
    settings = load_settings(environment, home=home)
    folder = settings.state_folder
    with states.only_one(folder):
        before = states.read(folder)
        ports_before: dict[str, int] = {}
        if before is not None:
            stop_leftovers(before)
            ports_before = {one.name: one.port for one in before.services if one.port is not None}
        names = service_names(environment, without)
        settings = effective(settings, names, ports_before)
        if environment is Environment.LOCAL:
            credentials.write_for_tools(settings)
        supervisor = Supervisor(
            environment, services(settings, names), folder, without=without, given=settings.given
        )
        supervisor.run(stop)


def recorded_settings(state: EnvironmentState, home: Path) -> Settings:
    """The settings of a running environment, with the places where its services really are."""
    settings = load_settings(state.environment, home=home, environ=state.given)
    places: dict[str, Any] = {
        ports.PORT_SETTINGS[one.name]: one.port
        for one in state.services
        if one.port is not None and one.name in ports.PORT_SETTINGS
    }
    if any(one.name == "postgres" for one in state.services):
        places |= {"postgres_host": LOOPBACK, "postgres_sslmode": "disable"}
    return dataclasses.replace(settings, **places)
