"""One request from top to bottom, as a WSGI application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import psycopg2

from cht_sync.ingest import answers, openapi, payload, query, session
from cht_sync.ingest.auth import Authenticator, Identity
from cht_sync.ingest.config import IngestConfig
from cht_sync.ingest.errors import ApiError, connection_lost, from_database
from cht_sync.ingest.messages import Request, Response
from cht_sync.ingest.pool import Pool
from cht_sync.ingest.prefer import Preferences
from cht_sync.ingest.reading import Found, select
from cht_sync.ingest.schema_cache import SchemaCache, Snapshot, Table
from cht_sync.ingest.sqltext import Statement
from cht_sync.ingest.writing import Written, insert

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

READING = ("GET", "HEAD")
ROOT_METHODS = "OPTIONS,GET,HEAD"
TABLE_METHODS = "OPTIONS,GET,HEAD,POST"


class IngestApp:
    """Answers `/<table>` and `/`; whatever PostgREST has beyond that is refused in words."""

    def __init__(self, config: IngestConfig, cache: SchemaCache, pool: Pool) -> None:
        self._config = config
        self._cache = cache
        self._pool = pool
        self._authenticator = Authenticator(
            config.jwt_secret, audience=config.jwt_audience, anon_role=config.anon_role
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request.from_wsgi(environ)
        try:
            response = self._answer(request)
        except ApiError as error:
            response = Response.of_error(error)
            log = logger.warning if error.status >= 500 else logger.info
            # Not the message: it may quote a document.
            log("%s %s: %d %s", request.method, request.path, error.status, error.code)
        return response.to_wsgi(start_response, head=request.method == "HEAD")

    def _answer(self, request: Request) -> Response:
        identity = self._authenticator.identify(request.headers.get("authorization"))
        snapshot = self._cache.current()
        match request.segments:
            case ("",):
                return self._root(request, identity, snapshot)
            case (name,):
                table = snapshot.table(self._schema(request), name)
                return self._on_table(request, identity, snapshot, table)
            case ("rpc", name):
                raise ApiError(
                    404,
                    "PGRST202",
                    f"Could not find the function {self._schema(request)}.{name} in the schema cache",
                    details="Functions are outside the subset of PostgREST that this server speaks.",
                )
        raise ApiError(404, "PGRST125", "Invalid path specified in request URL")

    def _root(self, request: Request, identity: Identity, snapshot: Snapshot) -> Response:
        if request.method == "OPTIONS":
            return _options(ROOT_METHODS)
        if request.method not in READING:
            raise _unsupported(request.method)
        schema = self._schema(request)
        visible = [name for of, name in snapshot.tables if of == schema and identity.authenticated]
        return Response(200, openapi.describe(visible), content_type=openapi.CONTENT_TYPE)

    def _on_table(self, request: Request, identity: Identity, snapshot: Snapshot, table: Table) -> Response:
        if request.method == "OPTIONS":
            return _options(TABLE_METHODS)
        if request.method not in (*READING, "POST"):
            raise _unsupported(request.method)
        context = session.Context(
            identity=identity,
            method=request.method,
            path=request.path,
            headers=request.headers,
            search_path=(table.schema, *self._config.extra_search_path),
            role_settings=snapshot.role_settings.get(identity.role, {}),
            read_only=request.method in READING,
        )
        parsed = query.parse(request.query)
        prefer = Preferences.parse(request.headers.get("prefer", ""))
        single = answers.wants_single(request)
        if request.method == "POST":
            return self._write(request, context, table, parsed, prefer, single=single)
        return self._read(request, context, table, parsed, prefer, single=single)

    def _write(
        self,
        request: Request,
        context: session.Context,
        table: Table,
        parsed: query.Query,
        prefer: Preferences,
        *,
        single: bool,
    ) -> Response:
        if parsed.filters or parsed.order or parsed.limit is not None or parsed.offset:
            raise ApiError(
                400, "PGRST100", "A POST takes only columns, on_conflict and select in its query string"
            )
        single = single and prefer.returning == "representation"
        statement = insert(table, self._payload(request, parsed), parsed, prefer, single=single)
        written = Written(*self._run(context, statement, single=single))
        return answers.of_written(table, prefer, written, single=single)

    def _read(
        self,
        request: Request,
        context: session.Context,
        table: Table,
        parsed: query.Query,
        prefer: Preferences,
        *,
        single: bool,
    ) -> Response:
        if "range" in request.headers:
            raise ApiError(
                400,
                "PGRST100",
                "The Range header is outside the subset that this server speaks; use limit and offset",
            )
        statement = select(table, parsed, count_all=prefer.count == "exact", single=single)
        found = Found(*self._run(context, statement, single=single))
        return answers.of_found(request, table, parsed, prefer, found, single=single)

    def _payload(self, request: Request, parsed: query.Query) -> payload.Payload:
        kind = request.headers.get("content-type", "application/json")
        media_type = kind.partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise ApiError(400, "PGRST102", f"Content-Type not acceptable: {media_type}")
        body = request.body(at_most=self._config.max_body)
        if b"\0" in body:
            # PostgreSQL's text cannot hold it, and JSON has no place for it.
            if parsed.columns is None:
                raise ApiError(400, "PGRST102", "Empty or invalid json")
            raise ApiError(400, "22021", 'invalid byte sequence for encoding "UTF8": 0x00')
        if parsed.columns is None:
            return payload.parsed(body)
        return payload.unparsed(body, parsed.columns)

    def _run(self, context: session.Context, statement: Statement, *, single: bool) -> tuple[Any, ...]:
        run: Callable[..., tuple[Any, ...]] = session.run_single if single else session.run
        identity = context.identity
        if "\0" in identity.role:
            raise ApiError(401, "22023", "role names cannot contain NUL")
        try:
            with self._pool.connection() as connection:
                try:
                    return run(connection, context, statement)
                except psycopg2.Error as error:
                    if connection.closed:
                        raise connection_lost(error) from error
                    raise from_database(error, authenticated=identity.authenticated) from error
        except psycopg2.OperationalError as error:
            raise connection_lost(error) from error

    def _schema(self, request: Request) -> str:
        """The schema that the request names in its profile header, else the first exposed one."""
        header = "accept-profile" if request.method in READING else "content-profile"
        schema = request.headers.get(header, self._config.schemas[0])
        if schema not in self._config.schemas:
            raise ApiError(
                406,
                "PGRST106",
                f"Invalid schema: {schema}",
                hint=f"Only the following schemas are exposed: {', '.join(self._config.schemas)}",
            )
        return schema


def _options(methods: str) -> Response:
    return Response(
        200, content_type=None, headers=(("Access-Control-Allow-Origin", "*"), ("Allow", methods))
    )


def _unsupported(method: str) -> ApiError:
    return ApiError(405, "PGRST117", f"Unsupported HTTP method: {method}")
