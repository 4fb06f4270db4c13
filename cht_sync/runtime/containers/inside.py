"""Settings inside a container: from the project's `.env` for the one that hands them out, else handed out."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.pipeline.couchdb.hints import ENVIRONMENT
from cht_sync.runtime import chosen, credentials
from cht_sync.runtime.containers.handed_out import placed
from cht_sync.runtime.preflight import HOST_OF_CONTAINERS
from cht_sync.settings import Settings, default_home, load

NOTHING: Mapping[str, str] = MappingProxyType({})
THIS_MACHINE = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[?::1\]?)(?=[:/]|$)")
"""A host, at the beginning of an address, that is another one inside a container."""


def settings_of_project(
    environment: Environment,
    project: Path,
    without: Collection[str],
    *,
    environ: Mapping[str, str] = NOTHING,
    secrets: Path | None = None,
    this_machine: str = HOST_OF_CONTAINERS,
) -> Settings:
    """Check the settings in the `.env` of `project`; `local` has secrets of its own where none are set.

    `environ` wins over the file; a container's own is no setting. `secrets` is where those of `local` are
    kept: unset, in this container's home. `this_machine` is as in `check`. Raises SettingsError with one
    line for each problem.
    """
    needs = chosen.demanded(without)
    settings = load(environment, home=project, environ=environ, needs=needs)
    names = chosen.service_names(settings, without)
    check(settings, names, this_machine=this_machine)
    if environment is Environment.LOCAL:
        kept = credentials.kept_secrets(secrets or default_home() / environment.value)
        settings = load(environment, home=project, environ=environ, kept_secrets=kept)
    return placed(settings, names)


def check(settings: Settings, services: Collection[str], *, this_machine: str = HOST_OF_CONTAINERS) -> None:
    """Raises SettingsError for what `services` could do with as local processes only.

    `this_machine` is what a container calls the machine that it runs on, for examples.
    """
    problems = []
    address = settings.cht_pipeline_branch_url
    if address.startswith(("/", ".", "file:")):
        problems.append(
            "CHT_PIPELINE_BRANCH_URL is a folder of this machine, which containers do not see; "
            "for example CHT_PIPELINE_BRANCH_URL=https://git.example.org/health/cht-pipeline.git#main"
        )
    if settings.postgrest_bin:
        problems.append("POSTGREST_BIN is for local processes; with Docker set POSTGREST_IMAGE")
    if _seen_mode(settings, services).startswith("verify-") and not settings.postgres_sslrootcert:
        problems.append(
            f"POSTGRES_SSLMODE={settings.postgres_sslmode} needs POSTGRES_SSLROOTCERT: containers have no "
            "root certificate of libpq's; for example POSTGRES_SSLROOTCERT=postgres-ca.pem"
        )
    for name, value in _others(settings, services).items():
        host = THIS_MACHINE.match(value)
        if host is not None:
            there = value.replace(host[0], this_machine, 1)
            problems.append(
                f"{name} is this machine, which a container takes for itself; for example {name}={there}"
            )
    if problems:
        raise SettingsError(problems, hint="Or run local processes: --runtime embedded")


def _seen_mode(settings: Settings, services: Collection[str]) -> str:
    """The sslmode inside of containers."""
    return placed(settings, services).postgres_sslmode


def _others(settings: Settings, services: Collection[str]) -> Mapping[str, str]:
    """The addresses that services ask, by setting: those of other people's servers among them are as set."""
    seen = placed(settings, services)
    found = {"POSTGRES_HOST": seen.postgres_host}
    if "logstash" in services:
        found |= {"COUCHDB_HOST": seen.couchdb_host, "HTTP_ENDPOINT": seen.http_endpoint}
    if "dbt" in services:
        found["DBT_POSTGRES_HOST"] = seen.dbt_postgres_host
    return found


def handed_out_settings(environ: Mapping[str, str] = os.environ) -> Settings | None:
    """The settings that this container was handed; None outside of one. They have been checked together."""
    environment = environ.get(ENVIRONMENT)
    if environment is None:
        return None
    return load(Environment(environment), environ=environ, read_file=False, needs=(), accepted=True)
