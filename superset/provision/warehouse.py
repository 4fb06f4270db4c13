"""Where the models are, as the read-only role of the dashboards reaches them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from psycopg2 import Error
from psycopg2.errors import UndefinedColumn, UndefinedTable
from questions import READ_ONLY
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from superset.models.core import Database

if TYPE_CHECKING:
    from assets import Asset

PERCENT = "%2525"
"""Superset takes the address apart twice, and SQLAlchemy 1.4 does not escape a % when it writes one."""

LONGEST_QUERY = 60_000
"""Milliseconds: a forgotten WHERE must not keep PostgreSQL busy for ever."""
LAST_RUN = "select result from dbt_runs where command = 'run' order by started_at desc limit 1"


def address() -> str:
    """Return SQLAlchemy's address with the password, from the settings of env.template; raises KeyError.

    `search_path` is the schema of the models, so that queries need not name it; times are in UTC whatever
    the server's time zone is.
    """
    given = os.environ
    path = '"' + given["DBT_POSTGRES_SCHEMA"].replace('"', '""') + '"'
    return URL.create(
        "postgresql+psycopg2",
        username=f"{given['POSTGRES_DB']}_superset",
        password=given["SUPERSET_DB_PASSWORD"].replace("%", PERCENT),
        host=given["POSTGRES_HOST"],
        port=int(given["POSTGRES_PORT"]),
        database=given["POSTGRES_DB"],
        query={
            "sslmode": given["POSTGRES_SSLMODE"],
            **({"sslrootcert": root} if (root := given.get("POSTGRES_SSLROOTCERT")) else {}),
            "options": f"-csearch_path={_escaped(path)} -ctimezone=UTC "
            f"-cstatement_timeout={LONGEST_QUERY} {READ_ONLY}",
        },
    ).render_as_string(hide_password=False)


def missing(database: Database, datasets: Iterable[Asset]) -> dict[str, str]:
    """Return by UUID of a dataset what PostgreSQL says of a table or column that dbt has run without making.

    Before dbt has run well nothing is lacking: everything may still come.
    """
    try:
        with database.get_raw_connection() as connection, closing(connection.cursor()) as cursor:
            cursor.execute(LAST_RUN)
            if cursor.fetchone() != ("success",):
                return {}
            return {one.uuid: said for one in datasets if (said := _lacking(connection, cursor, one))}
    except (SQLAlchemyError, Error):
        return {}


def _lacking(connection: Any, cursor: Any, dataset: Asset) -> str:
    query = dataset.config["sql"]
    asked = f"({query}\n) as one" if query else dataset.config["table_name"]
    try:
        cursor.execute(f"select 1 from {asked} limit 0")  # noqa: S608 (of our own files)
    except (UndefinedTable, UndefinedColumn) as error:
        connection.rollback()
        return str(error)
    return ""


def _escaped(value: str) -> str:
    """libpq splits options at spaces; a backslash keeps what follows it."""
    return re.sub(r"([\\\s])", r"\\\1", value)
