"""Marks on terminals whose encoding lacks them, as Latin-1 does: others in their place, never an error."""

from __future__ import annotations

import codecs
import io
import sys

PLAIN = {"✓": "+", "✗": "x", "→": "->", "…": "...", "·": "."}
HANDLER = "cht_sync.plain"


def allow_any_encoding() -> None:
    """Let standard output take every text from now on."""
    codecs.register_error(HANDLER, _in_place)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=HANDLER)


def _in_place(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(one, "?") for one in error.object[error.start : error.end]), error.end
