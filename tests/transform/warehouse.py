"""A database made by init-db-resources.sh, with two synced databases, and what tests do with it."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from postgres_fixture import PostgresServer
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync import process
from cht_sync.runtime.postgres import binaries
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.results import RunOutcome
from cht_sync.transform.runner import DbtRunner

CHECKOUT = Path(__file__).parents[2]
MEDIC = "medic"
SENTINEL = "medic-sentinel"
OWN_PACKAGE = CHECKOUT / "dbt" / "packages" / "cht_pipeline"
MODELS = (
    "document_metadata",
    "contact",
    "contact_hierarchy",
    "person",
    "patient",
    "place",
    "data_record",
    "user",
    "telemetry",
    "telemetry_devices",
    "feedback",
    "sentinel_info",
)
"""Those that follow documents by their id."""
FORMS = ("assessment", "delivery", "immunization", "pregnancy")
"""Those of the generator's forms."""


@dataclass
class Warehouse:
    """The owner's connection, and what dbt needs to know."""

    connection: Connection
    options: TransformOptions

    def put(
        self,
        doc_id: str,
        doc: Any,
        *,
        database: str = MEDIC,
        deleted: bool = False,
        source: str | None = "default",
    ) -> None:
        """Store a document as a pipeline does; each call is a transaction and a new revision."""
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("""
                    insert into {} (_id, _rev, doc, _deleted, source) values (%s, %s, %s, %s, %s)
                    on conflict (_id) do update set (_rev, doc, _deleted, source)
                      = (excluded._rev, excluded.doc, excluded._deleted, excluded.source)
                """).format(sql.Identifier(self.options.raw_schema, database)),
                (
                    doc_id,
                    f"1-{secrets.token_hex(4)}",
                    None if doc is None else json.dumps(doc),
                    deleted,
                    f"couch/{database}" if source == "default" else source,
                ),
            )

    def delete(self, doc_id: str, *, database: str = MEDIC) -> None:
        self.put(doc_id, {"_id": doc_id, "_deleted": True, "type": "person"}, database=database, deleted=True)

    def rows(self, model: str, doc_id: str | None = None) -> list[dict[str, Any]]:
        """The rows of a model in a fixed order; of one document where `doc_id` is given."""
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("""
                    select to_jsonb(model) from {} as model where %s in ('', uuid)
                    order by uuid, source, model::text
                """).format(sql.Identifier(self.options.schema, model)),
                (doc_id or "",),
            )
            return [row for (row,) in cursor.fetchall()]

    def row(self, model: str, doc_id: str) -> dict[str, Any]:
        (row,) = self.rows(model, doc_id)
        return row


def create_warehouse(
    server: PostgresServer, work_folder: Path, *, schema: str = "dbt", model_table: str = "couchdb"
) -> TransformOptions:
    """Make a database of its own through init-db-resources.sh."""
    name = f"test_{secrets.token_hex(6)}"
    with closing(psycopg2.connect(server.dsn())) as connection:
        connection.autocommit = True
        connection.cursor().execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    password = secrets.token_hex(8)
    process.run(
        ["sh", CHECKOUT / "postgres" / "init-db-resources.sh"],
        env={
            "PATH": f"{binaries()}:{os.environ['PATH']}",
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGPASSWORD": server.password,
            "POSTGRES_USER": server.user,
            "POSTGRES_DB": name,
            "COUCHDB_DBS": f"{MEDIC} {SENTINEL}",
            "PGRST_DB_PASSWORD": secrets.token_hex(8),
            "DBT_POSTGRES_PASSWORD": password,
            "DBT_POSTGRES_SCHEMA": schema,
            "POSTGRES_TABLE": model_table,
        },
    )
    return TransformOptions(
        project=OWN_PACKAGE,
        profiles=CHECKOUT / "dbt",
        work_folder=work_folder,
        host=server.host,
        port=server.port,
        user=f"{name}_dbt",
        password=password,
        database=name,
        schema=schema,
        model_table=model_table,
        interval=0.05,
    )


def run(dbt: DbtRunner, *, full_refresh: bool = False) -> RunOutcome:
    """Run the models; every one must succeed."""
    outcome = dbt.run(full_refresh=full_refresh)
    assert outcome.succeeded, outcome.failures
    return outcome
