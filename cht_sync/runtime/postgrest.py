"""PostgREST: a `postgrest` program where there is one, else the embedded ingest server."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Mapping

import requests

from cht_sync.errors import ServiceError
from cht_sync.runtime import postgres, postgrest_access, postgrest_conf
from cht_sync.runtime.service import Say, Service
from cht_sync.settings import Settings
from cht_sync.warehouse import schema

log = logging.getLogger(__name__)

PROGRAM = "postgrest"
PLACE_DEPENDENT = ("server-host", "server-port", "admin-server-port")
"""Keys of the configuration file that are for a container."""


class Postgrest(Service):
    """The way into PostgreSQL, on loopback. Brings the schema up to date before it starts."""

    name = "postgrest"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.port = settings.postgrest_port
        self._program = shutil.which(settings.postgrest_bin or PROGRAM)
        if settings.postgrest_bin and self._program is None:
            raise ServiceError(
                self.name,
                f"POSTGREST_BIN names no program: {settings.postgrest_bin}",
                hint="correct or unset it",
            )

    def prepare(self, say: Say) -> None:
        say("bringing the schema up to date")
        for line in schema.initialise(self._settings, psql_folder=postgres.binaries_if_installed()):
            log.info("init-db: %s", line)

    def command(self) -> list[str]:
        if self._program is not None:
            return [self._program]
        return [sys.executable, "-m", "cht_sync", "ingest", "serve"]

    def environment(self) -> Mapping[str, str]:
        """The values of `postgrest/postgrest.conf`, for both programs."""
        values = postgrest_conf.of(self._settings)
        for key in PLACE_DEPENDENT:
            values.pop(key, None)
        values["server-host"] = "127.0.0.1"
        values["server-port"] = str(self.port)
        if self._settings.postgrest_admin_port is not None:
            values["admin-server-port"] = str(self._settings.postgrest_admin_port)
        return {**postgrest_conf.as_environment(values), **self._settings.log_variables}

    def ready(self) -> bool:
        # As the pipelines will ask, so that the secret and the role are proven too.
        try:
            answer = postgrest_access.ask(f"http://127.0.0.1:{self.port}", self._settings)
        except requests.RequestException:
            return False
        return answer.status_code == 200
