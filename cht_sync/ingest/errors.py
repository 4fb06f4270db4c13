"""Errors as PostgREST shows them: an HTTP status, and an object with code, message, details, hint.

The statuses of SQLSTATEs are PostgREST's (its documentation, "HTTP Status Codes", and recorded
answers of version 14).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import psycopg2

NO_RETRY_AFTER = ("Retry-After", "0")
"""PostgREST always says 0; the client brings its own back-off."""

STATUS_OF_SQLSTATE = {
    "21000": 500,
    "23503": 409,
    "23505": 409,
    "25006": 405,
    "42501": 403,
    "42883": 404,
    "42P01": 404,
    "42P17": 500,
    "53400": 500,
    "57P01": 503,
    "P0001": 400,
}
STATUS_OF_CLASS = {
    "08": 503,
    "09": 500,
    "0L": 403,
    "0P": 403,
    "25": 500,
    "28": 403,
    "2D": 500,
    "38": 500,
    "39": 500,
    "3B": 500,
    "40": 500,
    "53": 503,
    "54": 500,
    "55": 500,
    "57": 500,
    "58": 500,
    "F0": 500,
    "HV": 500,
    "P0": 500,
    "XX": 500,
}
OTHERWISE = 400


class ApiError(Exception):
    """A request that ends with an error answer; `headers` are added to the usual ones."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: str | None = None,
        hint: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.hint = hint
        self.headers = tuple(headers)

    def body(self) -> bytes:
        """The error object, keys and spacing as PostgREST writes them (UTF-8)."""
        shown = {"code": self.code, "details": self.details, "hint": self.hint, "message": self.message}
        return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def outside_subset(what: str) -> ApiError:
    """A query that PostgREST would understand and this server does not."""
    return ApiError(400, "PGRST100", f"{what} is outside the subset of PostgREST that this server speaks")


def unavailable(code: str, message: str, *, details: str | None = None) -> ApiError:
    """503: the same request may succeed later."""
    return ApiError(503, code, message, details=details, headers=[NO_RETRY_AFTER])


def unsupported_method(method: str, details: str | None = None) -> ApiError:
    return ApiError(405, "PGRST117", f"Unsupported HTTP method: {method}", details=details)


def connection_failed(error: psycopg2.Error) -> ApiError:
    """No connection could be made."""
    return unavailable("PGRST000", "Database connection error.", details=str(error) or None)


def connection_lost() -> ApiError:
    """The connection broke; whether a statement took effect is not known."""
    return unavailable(
        "PGRST001",
        "Database client error. Retrying the connection.",
        details="no connection to the server\n",
    )


def from_database(error: psycopg2.Error, *, authenticated: bool) -> ApiError:
    """Turn what PostgreSQL said into PostgREST's answer.

    `authenticated` means that a token named the role: 42501 is 403 then, else 401, which asks the
    client for a token.
    """
    code = error.pgcode
    if code is None:
        return connection_lost()
    message = error.diag.message_primary or ""
    status = _status(code, message)
    if code == "42501" and not authenticated:
        status = 401
    headers = []
    if status == 401:
        headers.append(("WWW-Authenticate", "Bearer"))
    if status == 503:
        headers.append(NO_RETRY_AFTER)
    return ApiError(
        status,
        code,
        message,
        details=error.diag.message_detail,
        hint=error.diag.message_hint,
        headers=headers,
    )


def _status(code: str, message: str) -> int:
    # `raise ... using errcode = 'PTxyz'` chooses the HTTP status xyz.
    if code.startswith("PT"):
        return int(code[2:]) if code[2:].isdigit() and code[2:] >= "200" else 500
    # PostgreSQL has one code for two things; PostgREST reads the text too.
    if code == "21000" and message.endswith("requires a WHERE clause"):
        return 400
    # SET ROLE to a role that does not exist has no code of its own either.
    if code == "22023" and message.startswith("role") and message.endswith("does not exist"):
        return 401
    return STATUS_OF_SQLSTATE.get(code) or STATUS_OF_CLASS.get(code[:2], OTHERWISE)
