"""One request, one transaction, most often one round trip.

PostgreSQL runs all statements of one simple query in one transaction and reports the last result
only after its commit. So the settings, the statement and the commit travel together, and whatever
fails, the commit included, arrives as an error.

The body travels between dollar quotes with a tag that nobody can guess: nothing in it needs to be
escaped, so it is copied once, into the query that libpq sends.
"""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from cht_sync.ingest.auth import Identity
from cht_sync.ingest.errors import ApiError
from cht_sync.ingest.messages import CHUNK, Body
from cht_sync.ingest.sqltext import BODY_MARK, Rendered, Statement, listed

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

ASSIGNMENT = "set_config(%s, %s, true)"

Row = tuple[Any, ...]
Check = Callable[[Cursor, Row], Row]
"""Looks at a row before the commit; may ask more, return another row, or raise ApiError."""


@dataclass(frozen=True)
class Context:
    """What triggers, policies and privileges see of a request.

    `request.headers` is a JSON object with lower-case names, `request.cookies` another one,
    `request.jwt.claims` the token's claims, `request.method` and `request.path` as sent.
    `role_settings` are those that ALTER ROLE gave to the role. All of them end with the transaction.
    """

    identity: Identity
    method: str
    path: str
    headers: Mapping[str, str]
    search_path: tuple[str, ...]
    role_settings: Mapping[str, str]
    read_only: bool
    timezone: str | None = None

    def settings(self, connection: Connection) -> dict[str, str]:
        headers = {name: _utf8(value) for name, value in self.headers.items() if name != "cookie"}
        settings = {
            **self.role_settings,
            "search_path": _search_path(self.search_path).as_string(connection),
            "role": self.identity.role,
            "request.jwt.claims": self.identity.claims,
            "request.method": self.method,
            "request.path": _utf8(self.path),
            "request.headers": _json(headers),
            "request.cookies": _json(_cookies(self.headers.get("cookie", ""))),
        }
        if self.timezone is not None:
            settings["timezone"] = self.timezone
        if self.read_only:
            settings["transaction_read_only"] = "on"
        return settings


def run(connection: Connection, context: Context, statement: Statement, check: Check | None = None) -> Row:
    """Run and commit `statement` with `context` in force; return its one row.

    With `check` the row is looked at first, which takes a second round trip; what it raises takes
    everything back. Raises psycopg2.Error when anything failed, the commit included.
    """
    with connection.cursor() as cursor:
        if check is None:
            return _execute(cursor, context, statement)
        row = _execute(cursor, context, statement, begin=b"BEGIN; ")
        try:
            row = check(cursor, row)
        except ApiError:
            cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")
        return row


@lru_cache
def _search_path(schemas: tuple[str, ...]) -> Rendered:
    return Rendered(listed(sql.Identifier(schema) for schema in schemas))


def _execute(cursor: Cursor, context: Context, statement: Statement, *, begin: bytes = b"") -> Row:
    settings = context.settings(cursor.connection)
    assignments = ", ".join([ASSIGNMENT] * len(settings))
    prologue = cursor.mogrify(
        f"SELECT {assignments}; ", tuple(part for setting in settings.items() for part in setting)
    )
    text = statement.text.as_string(cursor)
    cursor.execute(_query(begin + prologue, text, statement.body))
    row = cursor.fetchone()
    if row is None:
        raise psycopg2.InterfaceError("the statement answered no row")
    return row


def _query(prologue: bytes, text: str, body: Body | None) -> bytes:
    if body is None:
        return prologue + text.encode()
    before, _, after = text.partition(BODY_MARK)
    quote = f"$b{secrets.token_hex(16)}$"
    opening, closing = f"{before}{quote}".encode(), f"{quote}{after}".encode()
    if body.length <= CHUNK:
        query = b"".join([prologue, opening, *body.chunks(), closing])
    else:
        growing = io.BytesIO()
        growing.writelines(chain([prologue, opening], body.chunks(), [closing]))
        query = growing.getvalue()
    if b"\0" in query:
        # It would end the query there.
        raise ApiError(400, "22021", 'invalid byte sequence for encoding "UTF8": 0x00')
    return query


def _utf8(latin: str) -> str:
    """WSGI hands over bytes as if they were Latin-1."""
    return latin if latin.isascii() else latin.encode("latin-1").decode(errors="replace")


def _cookies(header: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in _utf8(header).split(";") if part.strip())
    return {name: value for name, _, value in pairs}
