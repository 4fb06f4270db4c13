"""Reading and writing tables. Checks come in PostgREST's order, which decides what a request with
two faults is told."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from cht_sync.ingest import answers, media_types, payload
from cht_sync.ingest.config import IngestConfig
from cht_sync.ingest.database import Asked, Database
from cht_sync.ingest.errors import ApiError, unsupported_method
from cht_sync.ingest.media_types import Shape
from cht_sync.ingest.messages import Response
from cht_sync.ingest.prefer import Preferences
from cht_sync.ingest.query_string import parameters
from cht_sync.ingest.query_string.parameters import Query
from cht_sync.ingest.query_string.window import wanted
from cht_sync.ingest.reading import Found, explain, select
from cht_sync.ingest.schema_cache import Table
from cht_sync.ingest.session import Check, Row
from cht_sync.ingest.writing import Written, insert

REFUSED = ("PATCH", "PUT", "DELETE")
"""Methods of PostgREST's that are outside the subset."""


class Tables:
    def __init__(self, config: IngestConfig, database: Database) -> None:
        self._config = config
        self._database = database

    def answer(self, asked: Asked, name: str) -> Response:
        """Answer a request on the table of this name; raises ApiError."""
        method = asked.request.method
        if method in REFUSED:
            raise unsupported_method(
                method, f"{method} is outside the subset of PostgREST that this server speaks."
            )
        if method not in ("GET", "HEAD", "POST", "OPTIONS"):
            raise unsupported_method(method)
        query = parameters.parse(asked.request.query)
        if method == "POST":
            return self._write(asked, name, query)
        if method == "OPTIONS":
            table = asked.snapshot.table(asked.schema, name)
            return answers.options("OPTIONS,GET,HEAD,POST" if table.insertable else "OPTIONS,GET,HEAD")
        return self._read(asked, name, query)

    def _write(self, asked: Asked, name: str, query: Query) -> Response:
        request = asked.request
        wanted(query.window, None)
        body = request.body(at_most=self._config.max_body)
        written = payload.read(body, request.headers.get("content-type"), query.columns)
        table = asked.snapshot.table(asked.schema, name)
        query.check()
        prefer = Preferences.parse(request.headers.get("prefer", ""), asked.snapshot.timezones)
        for column in written.columns:
            table.column(column)
        prefer.check()
        shape = media_types.shape(request.headers.get("accept"))
        statement = insert(table, written, query, prefer, shape)

        def check(_cursor: Cursor, row: Row) -> Row:
            _check_single(Written(*row).rows)
            return row

        row = self._database.run(asked, statement, check if shape.single else None, timezone=prefer.timezone)
        return answers.of_written(table, query, prefer, shape, Written(*row), asked.profile)

    def _read(self, asked: Asked, name: str, query: Query) -> Response:
        request = asked.request
        window = wanted(query.window, request.headers.get("range") if request.method == "GET" else None)
        table = asked.snapshot.table(asked.schema, name)
        query.check()
        shape = media_types.shape(request.headers.get("accept"))
        prefer = Preferences.parse(request.headers.get("prefer", ""), asked.snapshot.timezones)
        prefer.check()
        most = self._config.max_rows
        statement = select(table, query, shape, window, count=prefer.count, max_rows=most)
        row = self._database.run(
            asked, statement, _check_of_read(table, query, prefer, shape, most), timezone=prefer.timezone
        )
        return answers.of_found(table, query, prefer, shape, window, Found(*row), asked.profile)


def _check_of_read(
    table: Table, query: Query, prefer: Preferences, shape: Shape, max_rows: int | None
) -> Check | None:
    """What is to be done between a read and its commit; None for nothing, which saves a round trip."""
    if not shape.single and prefer.count not in ("planned", "estimated"):
        return None

    def check(cursor: Cursor, row: Row) -> Row:
        found = Found(*row)
        if shape.single:
            _check_single(found.rows)
        counted = found.total or 0
        if prefer.count == "planned" or (
            prefer.count == "estimated" and (max_rows is None or counted > max_rows)
        ):
            cursor.execute(explain(table, query).text)
            [(plan,)] = cursor.fetchall()
            return found._replace(total=max(counted, int(plan[0]["Plan"]["Plan Rows"])))
        return found

    return check


def _check_single(rows: int) -> None:
    if rows != 1:
        raise ApiError(
            406,
            "PGRST116",
            "Cannot coerce the result to a single JSON object",
            details=f"The result contains {rows} rows",
        )
