"""The dbt loop, as its own process: it must never be in the way of the pipelines."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import requests
from psycopg2 import sql

from cht_sync.errors import ChtSyncError
from cht_sync.runtime.service import Say, Service
from cht_sync.settings import CHECKOUT, Settings
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.package import check_address
from cht_sync.transform.summary import summary
from cht_sync.warehouse.connection import dbt_endpoint

NEEDS = ("POSTGRES_HOST", "DBT_POSTGRES_PASSWORD")
"""All that the loop must be told: it reads PostgreSQL as its own role, and nothing else."""
OWN_PACKAGE = CHECKOUT / "dbt" / "packages" / "cht_pipeline"
PROFILES = CHECKOUT / "dbt"
HEALTH_TIMEOUT = 5.0
"""Seconds for an answer of `/healthz`, which a thread of its own gives also while dbt is at work."""


def loop_problems(place: str) -> list[str]:
    """Why the loop whose `/healthz` is at host:port does not do its work; nothing where it does."""
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the environment is not for this machine
            answer = session.get(f"http://{place}/healthz", timeout=HEALTH_TIMEOUT)
        reasons = [str(one) for one in answer.json()["reasons"]]
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        return [f"the loop does not answer at {place} ({type(error).__name__})"]
    return [f"the loop is unwell: {reason}" for reason in reasons]


def transform_options(settings: Settings) -> TransformOptions:
    """What the transformation needs of the settings. Raises SettingsError for a package it cannot use."""
    check_address(settings.cht_pipeline_branch_url)
    endpoint = dbt_endpoint(settings)
    return TransformOptions(
        project=OWN_PACKAGE,
        profiles=PROFILES,
        work_folder=settings.data_folder / "dbt",
        host=endpoint.host,
        port=endpoint.port,
        user=endpoint.user,
        password=endpoint.password,
        database=endpoint.database,
        sslmode=endpoint.sslmode,
        sslrootcert=endpoint.sslrootcert,
        schema=settings.dbt_postgres_schema,
        raw_schema=settings.postgres_schema,
        model_table=settings.postgres_table,
        interval=settings.dataemon_interval,
        selectors=settings.dbt_select,
        threads=settings.dbt_threads,
        url=settings.cht_pipeline_branch_url,
        token=settings.cht_pipeline_token,
        update_interval=settings.cht_pipeline_update_interval,
        exclude=settings.dbt_exclude,
        batch_size=settings.dbt_batch_size,
        vars=settings.dbt_vars,
        test_interval=settings.dbt_test_interval,
        results_days=settings.dbt_results_days,
        couch2pg_interval=settings.couch2pg_refresh_interval,
        metrics_port=settings.dbt_metrics_port,
    )


class Dbt(Service):
    """Ready once a run has ended, and, where documents are generated, once models have rows."""

    name = "dbt"
    patience = 15.0
    start_timeout = 180.0

    def __init__(self, settings: Settings, *, wait_for_documents: bool) -> None:
        self._settings = settings
        self.port = settings.dbt_metrics_port
        self._options = transform_options(settings)
        self._wait_for_documents = wait_for_documents and not settings.cht_pipeline_branch_url
        self._started_at = datetime.now(UTC)

    def prepare(self, say: Say) -> None:
        self._started_at = datetime.now(UTC)
        say("first run")

    def command(self) -> list[str]:
        return [sys.executable, "-m", "cht_sync", "dbt", "loop"]

    def environment(self) -> Mapping[str, str]:
        return {"CHT_SYNC_HOME": str(self._settings.home), **self._settings.log_variables}

    def work_folder(self) -> Path:
        return self._settings.data_folder

    def ready(self) -> bool:
        schema = self._settings.dbt_postgres_schema
        try:
            with dbt_endpoint(self._settings).connect() as connection:
                last = summary(connection, schema)
                if last is None or last.last_run < self._started_at:
                    return False
                if not self._wait_for_documents or last.result == "failed":
                    return True
                with connection.cursor() as cursor:
                    cursor.execute(
                        sql.SQL("select exists (select from {})").format(
                            sql.Identifier(schema, "data_record")
                        )
                    )
                    return cursor.fetchone() == (True,)
        except (ChtSyncError, psycopg2.Error):
            return False
