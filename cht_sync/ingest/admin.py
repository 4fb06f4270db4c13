"""The admin server: `/live`, `/ready` and `/metrics`, for whoever starts and stops the real one.

It shares the real one's loop, so that an answer from it says that the loop turns.
"""

from __future__ import annotations

from collections.abc import Iterable
from http.client import responses
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST

from cht_sync.ingest.metrics import Metrics
from cht_sync.ingest.schema_cache import SchemaCache

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class AdminApp:
    """200 for `/live` and `/metrics`; for `/ready` 200 while the schema is known, else 503; else 404."""

    def __init__(self, cache: SchemaCache, metrics: Metrics) -> None:
        self._cache = cache
        self._metrics = metrics

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/live":
                status = 200
            case "/metrics":
                body = self._metrics.text()
                kind = [("Content-Type", CONTENT_TYPE_LATEST), ("Content-Length", str(len(body)))]
                start_response("200 OK", kind)
                return [body]
            case "/ready":
                status = 200 if self._cache.is_loaded else 503
            case _:
                status = 404
        start_response(f"{status} {responses[status]}", [("Content-Length", "0")])
        return []
