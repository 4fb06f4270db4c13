"""Packages with the constructs of cht-pipeline, each kept warm beside a warehouse of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
from postgres_fixture import PostgresServer
from psycopg2 import sql

from cht_sync.transform.options import TransformOptions
from cht_sync.transform.results import RunOutcome
from cht_sync.transform.runner import DbtRunner

from .warehouse import Warehouse, create_warehouse, run

PACKAGES = Path(__file__).parent / "packages"
VIEW = "couchdb"
"""What models read where POSTGRES_TABLE names no synced database: all of them."""


@dataclass
class Generation:
    """A package of that generation, and the documents it reads."""

    warehouse: Warehouse
    dbt: DbtRunner

    @property
    def options(self) -> TransformOptions:
        return self.warehouse.options

    def run(self, *, full_refresh: bool = False) -> RunOutcome:
        return run(self.dbt, full_refresh=full_refresh)

    def rows(self, model: str) -> list[dict[str, Any]]:
        """All rows of a model, in a fixed order."""
        with self.warehouse.connection as connection, connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("select to_jsonb(model) from {} as model").format(
                    sql.Identifier(self.options.schema, model)
                )
            )
            return sorted((row for (row,) in cursor.fetchall()), key=json.dumps)

    def column(self, model: str, key: str, value: str) -> dict[str, Any]:
        """One column by another; keys are there once."""
        pairs = [(row[key], row[value]) for row in self.rows(model)]
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)


@contextmanager
def generation(
    server: PostgresServer, folder: Path, package: str, *, schema: str, model_table: str
) -> Iterator[Generation]:
    """Make a warehouse for the package, which is used as a folder of an operator's."""
    options = create_warehouse(server, folder, schema=schema, model_table=model_table)
    options = replace(options, url=str(PACKAGES / package))
    with closing(psycopg2.connect(server.dsn(options.database))) as connection:
        yield Generation(Warehouse(connection, options), DbtRunner(options))
