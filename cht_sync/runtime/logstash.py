"""The pipelines: rendered for this environment and run by our own engine, all in one process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
from psycopg2 import sql

from cht_sync import render
from cht_sync.errors import ChtSyncError, SettingsError
from cht_sync.files import private_folder
from cht_sync.pipeline.couchdb.hints import ENVIRONMENT
from cht_sync.runtime.service import Say, Service
from cht_sync.settings import Settings
from cht_sync.warehouse.connection import owner_endpoint


class Logstash(Service):
    """Ready once every pipeline is the writer of its database."""

    name = "logstash"
    patience = 20.0

    def __init__(self, settings: Settings) -> None:
        if settings.pipeline_engine != "native":
            raise SettingsError(
                ["PIPELINE_ENGINE=logstash needs Docker; the embedded runtime has PIPELINE_ENGINE=native"],
                hint="Unset PIPELINE_ENGINE, or run the files of `cht-sync render-config --engine logstash`.",
            )
        self._settings = settings
        self.port = settings.logstash_api_port
        self._folder = settings.data_folder / "logstash"
        self._prepared_at = datetime.now(UTC)

    def prepare(self, say: Say) -> None:
        private_folder(self._folder)
        render.write(render.render(self._settings, engine="native"), self._folder)
        self._prepared_at = datetime.now(UTC)

    def command(self) -> list[str]:
        api = ["--api.http.host", "127.0.0.1", "--api.http.port", str(self.port)]
        folder = ["--path.settings", str(self._folder)]
        return [sys.executable, "-m", "cht_sync", "pipeline", "run", *folder, *api]

    def environment(self) -> Mapping[str, str]:
        return {**render.variables(self._settings), ENVIRONMENT: str(self._settings.environment)}

    def work_folder(self) -> Path:
        return self._folder

    def ready(self) -> bool:
        query = sql.SQL("select count(*) from {}.couchdb_progress where source = any(%s) and updated_at > %s")
        sources = [self._settings.source(database) for database in self._settings.couchdb_dbs]
        try:
            with owner_endpoint(self._settings).connect() as connection, connection.cursor() as cursor:
                cursor.execute(
                    query.format(sql.Identifier(self._settings.postgres_schema)), (sources, self._prepared_at)
                )
                row = cursor.fetchone()
        except (ChtSyncError, psycopg2.Error):
            return False
        return row is not None and row[0] == len(sources)
