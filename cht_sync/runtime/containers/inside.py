"""Settings inside a container: from the project's `.env` for the one that hands them out, else handed out."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from cht_sync.environments import Environment
from cht_sync.errors import SettingsError
from cht_sync.pipeline.couchdb.hints import ENVIRONMENT
from cht_sync.runtime import chosen, credentials
from cht_sync.runtime.containers.handed_out import placed
from cht_sync.settings import Settings, default_home, load


def settings_of_project(environment: Environment, project: Path, without: Collection[str]) -> Settings:
    """Check the settings in the `.env` of `project`; `local` has secrets of its own where none are set.

    Raises SettingsError with one line for each problem.
    """
    needs = chosen.demanded(without)
    settings = load(environment, home=project, environ={}, needs=needs)
    check(settings)
    if environment is Environment.LOCAL:
        kept = credentials.kept_secrets(default_home() / environment.value)
        settings = load(environment, home=project, environ={}, kept_secrets=kept)
    return placed(settings, chosen.service_names(settings, without))


def check(settings: Settings) -> None:
    """Raises SettingsError for what works with local processes only."""
    problems = []
    address = settings.cht_pipeline_branch_url
    if address.startswith(("/", ".", "file:")):
        problems.append(
            "CHT_PIPELINE_BRANCH_URL is a folder of this machine, which containers do not see; "
            "for example CHT_PIPELINE_BRANCH_URL=https://git.example.org/health/cht-pipeline.git#main"
        )
    if settings.postgrest_bin:
        problems.append("POSTGREST_BIN is for local processes; with Docker set POSTGREST_IMAGE")
    if settings.postgres_sslmode.startswith("verify-"):
        problems.append(
            f"POSTGRES_SSLMODE={settings.postgres_sslmode} needs a root certificate, which containers have "
            "no place for yet; for example POSTGRES_SSLMODE=require"
        )
    for name in ("COUCHDB_HOST", "POSTGRES_HOST", "DBT_POSTGRES_HOST"):
        if settings.given.get(name, "") in ("localhost", "127.0.0.1", "[::1]") and name in _used(settings):
            problems.append(
                f"{name} is this machine, which a container takes for itself; "
                f"for example {name}=host.docker.internal"
            )
    if problems:
        raise SettingsError(problems, hint="Or run local processes: --runtime embedded")


def _used(settings: Settings) -> Collection[str]:
    """The addresses of others that an environment uses."""
    return {
        Environment.LOCAL: (),
        Environment.GAMMA: ("COUCHDB_HOST",),
        Environment.PROD: ("COUCHDB_HOST", "POSTGRES_HOST", "DBT_POSTGRES_HOST"),
    }[settings.environment]


def handed_out_settings(environ: Mapping[str, str] = os.environ) -> Settings | None:
    """The settings that this container was handed; None outside of one. They have been checked together."""
    environment = environ.get(ENVIRONMENT)
    if environment is None:
        return None
    return load(Environment(environment), environ=environ, read_file=False, needs=(), accepted=True)
