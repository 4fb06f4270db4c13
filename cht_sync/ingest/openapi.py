"""What `GET /` answers: that the server is there, and which tables it exposes."""

from __future__ import annotations

import json
from collections.abc import Sequence

CONTENT_TYPE = "application/openapi+json; charset=utf-8"


def describe(tables: Sequence[str]) -> bytes:
    """A minimal OpenAPI 2.0 document with one path for each table."""
    answers = {"responses": {"200": {"description": "OK"}}}
    document = {
        "swagger": "2.0",
        "info": {
            "title": "PostgREST API",
            "description": "The subset of PostgREST that cht-sync uses",
            "version": "14",
        },
        "basePath": "/",
        "consumes": ["application/json"],
        "produces": ["application/json", "application/vnd.pgrst.object+json"],
        "paths": {f"/{table}": {"get": answers, "post": answers} for table in sorted(tables)},
    }
    return json.dumps(document, separators=(",", ":")).encode()
