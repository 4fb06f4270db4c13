"""Creating what cht-sync keeps in PostgreSQL: the database, and by the script everything in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import psycopg2
from psycopg2 import sql

from cht_sync import process
from cht_sync.errors import ChtSyncError
from cht_sync.settings import CHECKOUT, Settings
from cht_sync.warehouse.connection import Endpoint, owner_endpoint

SCRIPT = CHECKOUT / "postgres" / "init-db-resources.sh"
MAINTENANCE_DATABASE = "postgres"
BY_AN_ADMINISTRATOR = "An administrator makes it: cht-sync init-db --admin-url, or --print-sql."
TIMEOUT = 6 * 3600.0
"""Seconds; the upgrade of a large table of 2023 takes hours. For locks the script has its own patience."""

WITH_ERRORS = 'exec sh "$0" 2>&1'
"""Warnings come where the report comes."""
SAID = re.compile(r"^(?:.*: )?psql:<stdin>:\d+: [^\s:]+: +", re.MULTILINE)
"""What psql puts before a message of the server: where, and how bad."""
LAYOUT = re.compile(r"^\\set layout (\S+)$", re.MULTILINE)
PART = re.compile(r"^(DETAIL|HINT|CONTEXT|QUERY|LINE \d+): +", re.MULTILINE)


def initialise(
    settings: Settings, *, psql_folder: Path | None = None, superset_metadata_password: str = ""
) -> list[str]:
    """Bring the server up to date; may be repeated at any time, also while pipelines run.

    Returns what was done and what PostgreSQL warns of, a line for each thing; empty when all was there
    already. `psql_folder` is searched for psql after PATH. `superset_metadata_password` asks for a role and
    a schema for Superset's own tables. Raises ChtSyncError with what PostgreSQL said.
    """
    endpoint = owner_endpoint(settings)
    _create_database(endpoint)
    path = os.environ.get("PATH", os.defpath)
    if psql_folder is not None:
        path = f"{path}{os.pathsep}{psql_folder}"
    environment = {
        "PATH": path,
        **endpoint.libpq_environment(),
        "POSTGRES_USER": settings.postgres_user,
        "POSTGRES_DB": settings.postgres_db,
        "POSTGRES_SCHEMA": settings.postgres_schema,
        "POSTGRES_TABLE": settings.postgres_table,
        "COUCHDB_DBS": " ".join(settings.couchdb_dbs),
        "COUCHDB_HOST": settings.couchdb_host,
        "PGRST_DB_PASSWORD": settings.pgrst_db_password,
        "DBT_POSTGRES_USER": settings.dbt_role,
        "DBT_POSTGRES_PASSWORD": settings.dbt_postgres_password,
        "DBT_POSTGRES_SCHEMA": settings.dbt_postgres_schema,
        "SUPERSET_DB_PASSWORD": settings.superset_db_password,
        "SUPERSET_METADATA_PASSWORD": superset_metadata_password,
    }
    try:
        output = process.run(["sh", "-c", WITH_ERRORS, SCRIPT], env=environment, timeout=TIMEOUT)
    except ChtSyncError as error:
        raise _refusal(error) from error
    return [SAID.sub("warning: ", line) for line in output.splitlines()]


def _refusal(error: ChtSyncError) -> ChtSyncError:
    """What PostgreSQL said, without what psql and the shell put around it; what is not of psql as it is."""
    *_, said = SAID.split(error.message)
    if said == error.message:
        return error
    message, *rest = PART.split(said)
    parts = dict(zip(rest[::2], (text.strip() for text in rest[1::2]), strict=True))
    detail = f" ({parts['DETAIL']})" if "DETAIL" in parts else ""
    return ChtSyncError(message.strip() + detail, hint=parts.get("HINT"))


def check_database(endpoint: Endpoint) -> None:
    """Raises ChtSyncError where its owner is not let in, or the database is missing and cannot be made."""
    if is_there(endpoint):
        return
    with endpoint.connect(database=MAINTENANCE_DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute("select rolsuper or rolcreatedb from pg_roles where rolname = current_user")
        if cursor.fetchone() != (True,):
            raise ChtSyncError(
                f"PostgreSQL at {endpoint.host}:{endpoint.port} has no database {endpoint.database}, and "
                f"{endpoint.user} may not make one",
                hint=BY_AN_ADMINISTRATOR,
            )


def _create_database(endpoint: Endpoint) -> None:
    """Make the database where it is missing; a server that lets us in there needs nothing more."""
    if is_there(endpoint):
        return
    with endpoint.connect(database=MAINTENANCE_DATABASE) as connection, connection.cursor() as cursor:
        try:
            create = sql.SQL("create database {} template template0 encoding 'UTF8'")
            cursor.execute(create.format(sql.Identifier(endpoint.database)))
        except psycopg2.errors.DuplicateDatabase:
            return  # another run was faster
        except psycopg2.Error as error:
            raise ChtSyncError(
                f"cannot create the database {endpoint.database}: {str(error).strip()}",
                hint=BY_AN_ADMINISTRATOR,
            ) from error


def layout() -> str:
    """The version of the layout that this release makes, as the script says it."""
    found = LAYOUT.search(SCRIPT.read_text(encoding="utf-8"))
    if found is None:
        raise ChtSyncError(f"{SCRIPT} names no layout", hint="Is the checkout whole? git status")
    return found[1]


def is_there(endpoint: Endpoint) -> bool:
    """Whether the server has the database. Raises ChtSyncError where it cannot be asked."""
    try:
        with endpoint.connect():
            return True
    except ChtSyncError as missing:
        if "does not exist" not in missing.message:
            raise
        return False
