"""What an answer of PostgREST means for the batch that was sent.

The error's code decides (an SQLSTATE or PGRSTnnn); the HTTP status only where there is none, or where
it says that the login failed. Sources: PostgREST's documentation, "Errors"; PostgreSQL's, appendix A.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cht_sync import backoff
from cht_sync.errors import (
    DeliveryError,
    DestinationMisconfigured,
    DestinationUnavailable,
    DocumentRefused,
    InternalFailure,
    StatementTimeout,
    Superseded,
)

SUCCESS = (200, 201)
LOGIN_FAILED = (401, 403)

BY_CODE: tuple[tuple[str, type[DeliveryError]], ...] = (
    ("PT409", Superseded),
    ("PT", DestinationMisconfigured),
    ("57014", StatementTimeout),
    ("XX000", InternalFailure),
    ("22", DocumentRefused),
    ("23502", DocumentRefused),
    ("23514", DocumentRefused),
    ("54000", DocumentRefused),
    ("54001", DocumentRefused),
    ("PGRST102", DocumentRefused),
    ("PGRST0", DestinationUnavailable),
    ("PGRST", DestinationMisconfigured),
    ("3F000", DestinationMisconfigured),
    ("42", DestinationMisconfigured),
)
"""The first beginning that fits decides; a code that fits none may pass with time."""

MISSING = ("3F000", "42501", "42703", "42883", "42P01", "PGRST106", "PGRST202", "PGRST204", "PGRST205")
"""A schema, a grant, a column, a function or a table that is not there, or not known to PostgREST."""
TO_MAKE_IT = "Make what is missing with: cht-sync init-db; the pipeline then goes on by itself."
NO_POSTGRESQL = "PGRST0"
TO_LOOK = "PostgREST's log says why: cht-sync logs postgrest."
OF_TOKENS = {
    "PGRST301": "PGRST_JWT_SECRET is not the one that PostgREST has; cht-sync doctor says more.",
    "PGRST303": "The clocks of this machine and of PostgREST's differ; have both set by NTP.",
}
"""Of a refused token, after it was made anew."""

BY_STATUS: Mapping[int, type[DeliveryError]] = {
    413: DocumentRefused,
    401: DestinationMisconfigured,
    403: DestinationMisconfigured,
    404: DestinationMisconfigured,
    405: DestinationMisconfigured,
    406: DestinationMisconfigured,
}


class ErrorBody(msgspec.Struct):
    """PostgREST's error object."""

    code: str
    message: str = ""
    details: str | None = None
    hint: str | None = None


_decode_error = msgspec.json.Decoder(ErrorBody).decode


def failure(status: int, headers: Mapping[str, str], body: bytes, resolution: str) -> DeliveryError | None:
    """Return what went wrong, None if the rows are stored.

    A success names the preference that was applied; a proxy's page with status 200 does not.
    """
    if status in SUCCESS:
        if f"resolution={resolution}" in headers.get("Preference-Applied", ""):
            return None
        return DestinationUnavailable(
            f"the answer {status} is not PostgREST's: it names no preference", code=f"HTTP {status}"
        )
    pause = backoff.requested(status, headers.get("Retry-After"))
    try:
        error = _decode_error(body)
    except (msgspec.DecodeError, RecursionError):
        shown = body[:120].decode(errors="replace")
        kind = BY_STATUS.get(status, DestinationUnavailable)
        return kind(f"answered {status}: {shown}", code=f"HTTP {status}", pause=pause)
    text = error.message + (f" ({error.details})" if error.details else "")
    kind = DestinationMisconfigured if status in LOGIN_FAILED else _by_code(error.code)
    hint = error.hint or _hint(error.code)
    return kind(f"{error.code}: {text}", code=error.code, hint=hint, pause=pause)


def _hint(code: str) -> str | None:
    """What to do next, where PostgREST does not say it."""
    if code in MISSING:
        return TO_MAKE_IT
    if code in OF_TOKENS:
        return OF_TOKENS[code]
    return TO_LOOK if code.startswith(NO_POSTGRESQL) else None


def _by_code(code: str) -> type[DeliveryError]:
    for beginning, kind in BY_CODE:
        if code.startswith(beginning):
            return kind
    return DestinationUnavailable
