"""The settings that each container gets: those of its service and no other's.

Written once by the one-shot `settings-<environment>`, one file a variable, each service's into a volume that
only this service mounts. So secrets are in no image, in no argument, and not in the configuration that
`docker inspect` shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cht_sync import render
from cht_sync.errors import SettingsError
from cht_sync.pipeline.couchdb.hints import ENVIRONMENT
from cht_sync.runtime import postgrest_conf
from cht_sync.runtime.superset import provisioning_variables, server_variables
from cht_sync.settings import AUTHORITIES, DOCKER, Settings, declared
from cht_sync.tokens import LONG_LIFE, make_token
from cht_sync.warehouse.connection import authenticator_endpoint, metadata_endpoint

PLACE = "/run/cht-sync"
"""Where a container finds its own."""
READABLE = 0o444
"""By whatever user a container runs as: nobody else can mount the volume."""

METADATA_PASSWORD = "SUPERSET_METADATA_PASSWORD"  # noqa: S105 (its name)
"""Of the role that owns Superset's own tables, which only containers have in PostgreSQL."""
COUCHDB = "couchdb"
"""The host of the CouchDB that is started here."""
PORTS = {
    "postgres": 5432,
    "couchdb": 5984,
    "postgrest": 3000,
    "logstash": 9600,
    "dbt": 9601,
    "load": 9602,
    "superset": 8088,
}
"""Where services listen inside their network."""
ALL = "ALL"
SECRETS: Mapping[str, tuple[str, ...] | str] = {
    "render-config": (),
    "couchdb-setup": ("COUCHDB_PASSWORD",),
    "data-generator": ("COUCHDB_PASSWORD",),
    "init-db": (
        "POSTGRES_PASSWORD",
        "PGRST_DB_PASSWORD",
        "DBT_POSTGRES_PASSWORD",
        "SUPERSET_DB_PASSWORD",
        METADATA_PASSWORD,
    ),
    "load": ("COUCHDB_PASSWORD", "POSTGRES_PASSWORD", "REDACT_HASH_SECRET"),
    "dbt": ("DBT_POSTGRES_PASSWORD", "CHT_PIPELINE_TOKEN"),
    "cht-sync": ALL,
}
"""The secrets of the services that read settings as the command line does; `cht-sync` is that itself."""


def placed(settings: Settings, names: Collection[str]) -> Settings:
    """The settings as seen inside the network: what is started here is used, whatever they say.

    A `.env` that names the real CouchDB or PostgreSQL must never make `local` read from there, or write
    to it. Ports are those inside the containers.
    """
    places: dict[str, Any] = {
        "superset_port": PORTS["superset"],
        "dbt_metrics_port": PORTS["dbt"],
        "load_metrics_port": PORTS["load"],
        "logstash_api_port": PORTS["logstash"],
    }
    if "couchdb" in names:
        places |= {"couchdb_host": COUCHDB, "couchdb_port": PORTS[COUCHDB], "couchdb_secure": False}
        places |= {"couchdb_path": "", "couchdb_ca_file": ""}
    if "postgres" in names:
        places |= {
            "postgres_host": "postgres",
            "postgres_port": PORTS["postgres"],
            "postgres_sslmode": "disable",
            "postgres_sslrootcert": "",
        }
        places |= {"dbt_postgres_host": "postgres"}
    if "postgrest" in names and ("postgres" in names or not settings.http_endpoint):
        port = PORTS["postgrest"]
        places |= {"http_endpoint": f"postgrest:{port}", "postgrest_port": port}
        places |= {"http_endpoint_secure": False, "http_endpoint_ca_file": ""}
    return dataclasses.replace(settings, **places)


def handed_out(settings: Settings) -> dict[str, dict[str, str]]:
    """Return service -> variable -> value, for settings that are placed.

    Among the variables are files of certificates, for the services that a setting tells of them. Raises
    SettingsError where one cannot be read (any more).
    """
    files = {certificates_file(name): path for name in AUTHORITIES if (path := getattr(settings, name))}
    inside: dict[str, Any] = {
        name: f"{PLACE}/{certificates_file(name)}" for name in AUTHORITIES if getattr(settings, name)
    }
    settings = dataclasses.replace(settings, **inside)
    plain, secrets = _texts(settings, secret=False), _texts(settings, secret=True)
    plain[ENVIRONMENT] = settings.environment.value
    secrets[METADATA_PASSWORD] = settings.superset_metadata_password
    texts = {**plain, **secrets}
    found = {
        service: {**plain, **_some(texts, secrets if wanted == ALL else wanted)}
        for service, wanted in SECRETS.items()
    }
    found["postgres"] = _some(texts, ("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"))
    found["couchdb"] = _some(texts, ("COUCHDB_USER", "COUCHDB_PASSWORD"))
    found["logstash"] = _for_logstash(settings)
    postgrest = postgrest_conf.of(
        settings, db_uri=f"@{PLACE}/PGRST_DB_URI", jwt_secret=f"@{PLACE}/PGRST_JWT_SECRET"
    )
    # `postgrest --ready`, the health check, asks neither "!4" nor any other word for all addresses.
    postgrest |= {"server-host": "0.0.0.0", "admin-server-host": "127.0.0.1"}  # noqa: S104 (see above)
    found["postgrest"] = {
        "PGRST_DB_URI": authenticator_endpoint(settings).uri(),
        "PGRST_JWT_SECRET": settings.pgrst_jwt_secret,
        "postgrest.conf": postgrest_conf.as_text(postgrest),
    }
    found["superset"] = {
        **provisioning_variables(settings),
        **server_variables(settings),
        # With the driver's name, as SQLAlchemy takes it.
        "SUPERSET_METADATA_URI": metadata_endpoint(settings).uri().replace("://", "+psycopg2://", 1),
    }
    for variables in found.values():
        named = [file for file in files if any(f"{PLACE}/{file}" in value for value in variables.values())]
        variables |= {file: _certificates(files[file]) for file in named}
    return found


def certificates_file(setting: str) -> str:
    """The name of the file whose certificates a setting names."""
    return f"{setting}.pem"


def write(found: Mapping[str, Mapping[str, str]], folder: Path) -> None:
    """Write them as `<folder>/<service>/<variable>`; variables that are gone are removed."""
    for service, variables in found.items():
        place = folder / service
        place.mkdir(parents=True, exist_ok=True)
        for old in place.iterdir():
            if old.name not in variables:
                old.unlink()
        for name, value in variables.items():
            # Not in place: a container that is starting sees the old value or the new one.
            new = place / f".{name}"
            new.unlink(missing_ok=True)
            new.write_text(value)
            new.chmod(READABLE)
            new.replace(place / name)


def take_back(folder: Path, services: Collection[str]) -> None:
    """Leave these services without settings."""
    for service in services:
        for file in (folder / service).glob("*"):
            file.unlink()


def _texts(settings: Settings, *, secret: bool) -> dict[str, str]:
    """Every setting as the text that gives it, placed values as they are; without what is for Compose."""
    texts = {}
    for name, variable in declared():
        if variable.secret is not secret or variable.group == DOCKER:
            continue
        value = getattr(settings, name.lower())
        if isinstance(value, bool):
            texts[name] = str(value).lower()
        elif isinstance(value, str | int | float):
            texts[name] = str(value)
        else:
            texts[name] = settings.given.get(name, "")
    return {name: text for name, text in texts.items() if text}


def _certificates(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise SettingsError([f"{path} cannot be read: {error.strerror}"]) from error


def _some(texts: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: texts[name] for name in names if name in texts}


def _for_logstash(settings: Settings) -> dict[str, str]:
    variables = {**render.variables(settings), ENVIRONMENT: settings.environment.value}
    if settings.pipeline_engine == "logstash":
        # It cannot sign tokens, so it gets one instead of the secret.
        del variables["PGRST_JWT_SECRET"]
        token = make_token(settings.pgrst_jwt_secret, settings.ingest_role, lifetime=LONG_LIFE)
        variables["POSTGREST_TOKEN"] = token
    return variables
