"""The door to PostgreSQL's driver."""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection


def connect(dsn: str | None = None, **parameters: Any) -> Connection:
    """Open a connection with libpq's parameters. Raises psycopg2.OperationalError, whatever answers there.

    psycopg2 reads what libpq says of a failure as UTF-8, and fails otherwise where that quotes noise.
    """
    try:
        opened: Connection = psycopg2.connect(dsn, **parameters)
    except UnicodeDecodeError as error:
        raise psycopg2.OperationalError("what answers there is not PostgreSQL") from error
    return opened
