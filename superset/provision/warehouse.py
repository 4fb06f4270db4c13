"""Where the models are, as the read-only role of the dashboards reaches them."""

from __future__ import annotations

import os
import re

from sqlalchemy.engine import URL

PERCENT = "%2525"
"""Superset takes the address apart twice, and SQLAlchemy 1.4 does not escape a % when it writes one."""


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
            "options": f"-csearch_path={_escaped(path)} -ctimezone=UTC",
        },
    ).render_as_string(hide_password=False)


def _escaped(value: str) -> str:
    """libpq splits options at spaces; a backslash keeps what follows it."""
    return re.sub(r"([\\\s])", r"\\\1", value)
