"""The embedded runtime: every service of an environment as a local process."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from cht_sync import logs
from cht_sync.environments import BESIDE, Environment
from cht_sync.runtime import chosen, credentials, ports, superset
from cht_sync.runtime import state as states
from cht_sync.runtime.couchdb import CouchdbServer
from cht_sync.runtime.data_generator import DataGenerator
from cht_sync.runtime.dbt import Dbt
from cht_sync.runtime.load import Load
from cht_sync.runtime.logstash import Logstash
from cht_sync.runtime.postgres import Postgres
from cht_sync.runtime.postgrest import Postgrest
from cht_sync.runtime.service import Service
from cht_sync.runtime.state import EnvironmentState
from cht_sync.runtime.supervisor import Supervisor, stop_leftovers
from cht_sync.settings import Settings, load

LOOPBACK = "127.0.0.1"
LAUNCH_PATIENCE = 10.0
"""Seconds in which whoever started the supervisor has recorded it and lets go of the environment."""


def load_settings(
    environment: Environment, *, home: Path | None = None, needs: Collection[str] | None = None
) -> Settings:
    """Load the settings; `local` has secrets of its own where none are set. `needs` as in `settings.load`."""
    settings = load(environment, home=home, needs=needs)
    return with_kept_secrets(settings) if environment is Environment.LOCAL else settings


def unavailable() -> dict[str, str]:
    """Services that cannot run as processes of this machine, and why."""
    if superset.python() is None:
        return {"superset": f"needs Python {' or '.join(superset.SUPPORTED_PYTHON)}, which is not here"}
    return {}


def placed(settings: Settings, names: Collection[str], address: str = LOOPBACK) -> Settings:
    """The settings as seen by services that find each other here, at `address`.

    What is started here is used, whatever the settings say of other places: a `.env` that names the real
    CouchDB or PostgreSQL must never make `local` read from there, or write to it.
    """
    places: dict[str, Any] = {"publish_address": address}
    if "couchdb" in names:
        places |= {"couchdb_host": address, "couchdb_secure": False, "couchdb_path": ""}
        places |= {"couchdb_ca_file": ""}
    if "postgres" in names:
        places |= {"postgres_host": address, "dbt_postgres_host": address, "postgres_sslmode": "disable"}
        places |= {"postgres_sslrootcert": ""}
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
    names = chosen.service_names(settings, {*without, *unavailable()})
    settings = ports.choose(placed(settings, names), names, ports_before, take)
    return settings, services(settings, _with_load(settings, names))


def _with_load(settings: Settings, names: Sequence[str]) -> list[str]:
    """What is started, in order: the load before the pipelines, where there may be something to load."""
    if "logstash" not in names or not settings.load_from_documents:
        return [*names]
    place = names.index("logstash")
    return [*names[:place], *BESIDE[settings.environment], *names[place:]]


def services(settings: Settings, names: Collection[str]) -> list[Service]:
    """Make the services, in the order in which they start. Raises SettingsError and ServiceError."""
    makers: dict[str, Callable[[], Service]] = {
        "postgres": lambda: Postgres(
            settings.data_folder / "postgres",
            port=settings.postgres_port,
            user=settings.postgres_user,
            password=settings.postgres_password,
        ),
        "couchdb": lambda: CouchdbServer(settings),
        "postgrest": lambda: Postgrest(settings),
        "load": lambda: Load(settings),
        "logstash": lambda: Logstash(settings),
        "data-generator": lambda: DataGenerator(settings),
        "dbt": lambda: Dbt(settings, wait_for_documents="data-generator" in names),
        "superset": lambda: superset.Superset(settings),
    }
    return [makers[name]() for name in names]


def supervise(environment: Environment, *, without: Sequence[str], home: Path, stop: threading.Event) -> None:
    """Run the environment in this process until `stop` is set. Raises ChtSyncError when it cannot start."""
    settings = load_settings(environment, home=home, needs=chosen.demanded(without))
    logs.configure(level=settings.log_level, style=settings.log_format)
    with (
        states.only_one(settings.state_folder, patience=LAUNCH_PATIENCE),
        closing(ports.Reservations()) as reservations,
    ):
        settings, planned = plan(settings, without, reservations.take)
        if any(service.name == "postgres" for service in planned):
            credentials.write_for_tools(settings)
        Supervisor(environment, planned, settings.state_folder, without=without, given=settings.given).run(
            stop
        )


def recorded_settings(state: EnvironmentState, home: Path) -> Settings:
    """The settings of a running environment, as they were when it was started.

    What `.env` and the process environment say by now does not count.
    """
    needs = chosen.demanded(state.without)
    settings = load(
        state.environment, home=home, environ=state.given, read_file=False, needs=needs, accepted=True
    )
    if state.environment is Environment.LOCAL:
        settings = with_kept_secrets(settings)
    taken: dict[str, Any] = {
        ports.PORT_SETTINGS[one.name]: one.port
        for one in state.services
        if one.port is not None and one.name in ports.PORT_SETTINGS
    }
    return dataclasses.replace(placed(settings, [one.name for one in state.services]), **taken)


def with_kept_secrets(settings: Settings) -> Settings:
    """The settings of `local`, with secrets that are made where none are set and kept in its folder."""
    # Made only now, after the settings were checked: what is refused leaves nothing behind.
    kept = credentials.kept_secrets(settings.data_folder)
    loaded = load(
        settings.environment, home=settings.home, environ=settings.given, read_file=False, kept_secrets=kept
    )
    return dataclasses.replace(loaded, runtime_folder=settings.runtime_folder)
