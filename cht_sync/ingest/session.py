"""One request, one transaction, one round trip.

PostgreSQL runs all statements of one simple query in one transaction and reports the last result
only after its commit. So the settings, the statement and the commit travel together, and whatever
fails, the commit included, arrives as an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from cht_sync.ingest.auth import Identity
from cht_sync.ingest.errors import ApiError
from cht_sync.ingest.sqltext import Rendered, Statement, listed

ASSIGNMENT = "set_config(%s, %s, true)"


@dataclass(frozen=True)
class Context:
    """What triggers, policies and privileges see of a request.

    `request.headers` is a JSON object with lower-case names, `request.jwt.claims` the token's
    claims, `request.method` and `request.path` as sent. `role_settings` are those that ALTER ROLE
    gave to the role. All of them end with the transaction.
    """

    identity: Identity
    method: str
    path: str
    headers: Mapping[str, str]
    search_path: tuple[str, ...]
    role_settings: Mapping[str, str]
    read_only: bool

    def settings(self, connection: Connection) -> dict[str, str]:
        settings = {
            **self.role_settings,
            "search_path": _search_path(self.search_path).as_string(connection),
            "role": self.identity.role,
            "request.jwt.claims": self.identity.claims,
            "request.method": self.method,
            "request.path": self.path,
            "request.headers": json.dumps(dict(self.headers)),
        }
        if self.read_only:
            settings["transaction_read_only"] = "on"
        return settings


def run(connection: Connection, context: Context, statement: Statement) -> tuple[Any, ...]:
    """Run and commit `statement` with `context` in force; return its one row.

    Raises psycopg2.Error when anything failed, the commit included.
    """
    with connection.cursor() as cursor:
        return _execute(cursor, context, statement)


def run_single(connection: Connection, context: Context, statement: Statement) -> tuple[Any, ...]:
    """Like `run`, but take everything back unless the row's first column, a count, is 1.

    Raises ApiError 406 PGRST116 then.
    """
    with connection.cursor() as cursor:
        row = _execute(cursor, context, statement, begin="BEGIN; ")
        if row[0] != 1:
            cursor.execute("ROLLBACK")
            raise ApiError(
                406,
                "PGRST116",
                "Cannot coerce the result to a single JSON object",
                details=f"The result contains {row[0]} rows",
            )
        cursor.execute("COMMIT")
    return row


@lru_cache
def _search_path(schemas: tuple[str, ...]) -> Rendered:
    return Rendered(listed(sql.Identifier(schema) for schema in schemas))


def _execute(
    cursor: psycopg2.extensions.cursor, context: Context, statement: Statement, *, begin: str = ""
) -> tuple[Any, ...]:
    settings = context.settings(cursor.connection)
    assignments = ", ".join([ASSIGNMENT] * len(settings))
    cursor.execute(
        "".join([begin, "SELECT ", assignments, "; ", statement.text.as_string(cursor)]),
        (*(part for setting in settings.items() for part in setting), *statement.values),
    )
    row = cursor.fetchone()
    if row is None:
        raise psycopg2.InterfaceError("the statement answered no row")
    return row
