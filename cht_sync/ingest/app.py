"""One request from top to bottom, as a WSGI application."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from cht_sync.ingest import answers, cors, media_types, openapi
from cht_sync.ingest.auth import Authenticator, Identity
from cht_sync.ingest.config import IngestConfig
from cht_sync.ingest.database import Asked, Database
from cht_sync.ingest.errors import ApiError, unsupported_method
from cht_sync.ingest.failed_requests import ALL, FailedRequests
from cht_sync.ingest.messages import Request, Response
from cht_sync.ingest.metrics import Metrics
from cht_sync.ingest.pool import Pool
from cht_sync.ingest.schema_cache import NO_SCHEMA, SchemaCache, Snapshot
from cht_sync.ingest.tables import Tables

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

WRITING = ("POST", "PATCH", "PUT", "DELETE")
METHODS = ("GET", "HEAD", "OPTIONS", *WRITING)
OF_FUNCTIONS = ("GET", "HEAD", "POST", "OPTIONS")
FAILED = 400
SHOWN_FROM = {"crit": 600, "error": 500, "warn": 400, "info": 0, "debug": 0}
"""The least status that is logged, by PGRST_LOG_LEVEL; 0: a line for each request that succeeds."""


class IngestApp:
    """Answers `/<table>` and `/`; whatever PostgREST has beyond that is refused in words."""

    def __init__(self, config: IngestConfig, cache: SchemaCache, pool: Pool, metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        self._failed = FailedRequests()
        self._cache = cache
        self._database = Database(config, pool)
        self._tables = Tables(config, self._database)
        self._authenticator = Authenticator(
            config.jwt_secret, audience=config.jwt_audience, anon_role=config.anon_role
        )

    def look(self, *, at_end: bool = False) -> None:
        """Say of requests that failed what is left to say; cheap, for the server's loop."""
        self._failed.look(at_end=at_end)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began = time.perf_counter()
        request = Request.from_wsgi(environ)
        code = ""
        try:
            response = cors.preflight(request.method, request.headers) or self._answer(request)
        except ApiError as error:
            response = Response.of_error(error)
            code = error.code
        size = int(environ.get("CONTENT_LENGTH") or 0)
        self._metrics.answered(request.method, response.status, time.perf_counter() - began, size)
        self._tell(request, response.status, code)
        if exposing := cors.exposing(request.method, request.headers):
            response = replace(response, headers=(*response.headers, *exposing))
        return response.to_wsgi(start_response, head=request.method == "HEAD")

    def _tell(self, request: Request, status: int, code: str) -> None:
        # Not the message: it may quote a document.
        what = ALL if code == NO_SCHEMA else self._named(request)
        if status < FAILED:
            self._failed.succeeded(what)
            if SHOWN_FROM[self._config.log_level] == 0:
                logger.info("%s: %d", what, status)
        elif status >= SHOWN_FROM[self._config.log_level]:
            self._failed.failed(what, status, code)

    def _named(self, request: Request) -> str:
        """Name a request for the log; with nothing in it that a client without a token can make up."""
        method = request.method if request.method in METHODS else "another method"
        match request.segments:
            case ("",):
                return f"{method} /"
            case (name,) if self._cache.knows(name):
                return f"{method} /{name}"
        return f"{method} of an unknown path"

    def _answer(self, request: Request) -> Response:
        identity = self._authenticator.identify(request.headers.get("authorization"))
        snapshot = self._cache.current()
        match request.segments:
            case ("",):
                if self._config.openapi_mode == openapi.DISABLED:
                    raise ApiError(404, "PGRST126", "Root endpoint metadata is disabled")
                return self._root(self._asked(request, identity, snapshot))
            case (name,):
                return self._tables.answer(self._asked(request, identity, snapshot), name)
            case ("rpc", name):
                raise _no_function(self._asked(request, identity, snapshot), name)
        raise ApiError(404, "PGRST125", "Invalid path specified in request URL")

    def _asked(self, request: Request, identity: Identity, snapshot: Snapshot) -> Asked:
        """Find the schema that the request names in its profile header, else the first exposed one."""
        header = "content-profile" if request.method in WRITING else "accept-profile"
        named = request.headers.get(header)
        schema = self._config.schemas[0] if named is None else named
        if schema not in self._config.schemas:
            raise ApiError(
                406,
                "PGRST106",
                f"Invalid schema: {schema}",
                hint=f"Only the following schemas are exposed: {', '.join(self._config.schemas)}",
            )
        negotiated = named is not None or len(self._config.schemas) > 1
        profile = (("Content-Profile", schema),) if negotiated else ()
        return Asked(request, identity, snapshot, schema, profile)

    def _root(self, asked: Asked) -> Response:
        if asked.request.method == "OPTIONS":
            return answers.options("OPTIONS,GET,HEAD")
        if asked.request.method not in ("GET", "HEAD"):
            raise unsupported_method(asked.request.method)
        offers = media_types.accepted(asked.request.headers.get("accept"))
        if not {media_types.OPENAPI, media_types.JSON, media_types.ANY}.intersection(offers):
            raise media_types.not_available(offers)
        tables = [table for (of, _), table in asked.snapshot.tables.items() if of == asked.schema]
        if self._config.openapi_mode == openapi.FOLLOW_PRIVILEGES:
            (accessible,) = self._database.run(asked, openapi.accessible_tables(asked.schema))
            tables = [table for table in tables if table.name in accessible]
        return Response(
            200,
            openapi.describe(tables, host=f"{self._config.host}:{self._config.port}"),
            content_type=media_types.content_type(media_types.OPENAPI),
            headers=asked.profile,
        )


def _no_function(asked: Asked, name: str) -> ApiError:
    if asked.request.method not in OF_FUNCTIONS:
        return ApiError(405, "PGRST101", f"Cannot use the {asked.request.method} method on RPC")
    return ApiError(
        404,
        "PGRST202",
        f"Could not find the function {asked.schema}.{name} in the schema cache",
        details="Functions are outside the subset of PostgREST that this server speaks.",
    )
