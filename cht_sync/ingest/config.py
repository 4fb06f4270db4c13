"""The server's settings, read from PostgREST's own environment variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
from psycopg2.extensions import parse_dsn

from cht_sync.errors import SettingsError
from cht_sync.ingest.openapi import FOLLOW_PRIVILEGES, MODES

MIN_SECRET_BYTES = 32
"""HS256 demands a key as long as its hash (RFC 7518, 3.2); PostgREST refuses shorter ones too."""
MEBIBYTE = 1024 * 1024
ANY_ADDRESS = {"*": "0.0.0.0", "*4": "0.0.0.0", "!4": "0.0.0.0", "*6": "::", "!6": "::"}  # noqa: S104
"""PostgREST's words for "every address"."""
LOG_LEVELS = ("crit", "error", "warn", "info", "debug")
NOT_SUPPORTED = {
    "PGRST_DB_PRE_REQUEST": "",
    "PGRST_DB_ROOT_SPEC": "",
    "PGRST_DB_TX_END": "commit",
    "PGRST_JWT_ROLE_CLAIM_KEY": ".role",
    "PGRST_JWT_SECRET_IS_BASE64": "false",
    "PGRST_SERVER_UNIX_SOCKET": "",
}
"""Variables of PostgREST's that decide who may do what or where, with the one value that is honoured."""


@dataclass(frozen=True)
class IngestConfig:
    """What `serve` needs. Times are seconds, sizes are bytes; `port` 0 takes any free one."""

    db_uri: str = field(repr=False)
    schemas: tuple[str, ...]
    """The exposed schemas; the first is the default."""
    anon_role: str | None = None
    """The role of requests without a token; None refuses them."""
    jwt_secret: str | None = field(default=None, repr=False)
    jwt_audience: str | None = None
    host: str = "127.0.0.1"
    port: int = 3000
    pool_size: int = 10
    pool_patience: float = 10.0
    """How long a request waits for a connection before 504 PGRST003."""
    extra_search_path: tuple[str, ...] = ("public",)
    channel: str = "pgrst"
    """`NOTIFY <channel>, 'reload schema'` makes the server read the schema again."""
    max_rows: int | None = None
    """Rows that one GET shows at most."""
    openapi_mode: str = FOLLOW_PRIVILEGES
    log_level: str = "error"
    admin_host: str = "127.0.0.1"
    admin_port: int | None = None
    """Where `/live` and `/ready` answer; None: nowhere."""
    max_body: int = 256 * MEBIBYTE

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> IngestConfig:
        """Read `PGRST_*` and `CHT_INGEST_MAX_BODY`; raises SettingsError with every problem found."""
        problems: list[str] = []

        def number(name: str, default: int, least: int, most: int) -> int:
            text = environ.get(name) or str(default)
            if text.isascii() and text.isdigit() and least <= int(text) <= most:
                return int(text)
            problems.append(f"{name}: {text!r} is not a number from {least} to {most}, for example {default}")
            return default

        def if_given(name: str, example: int, least: int, most: int) -> int | None:
            return number(name, example, least, most) if environ.get(name) else None

        def one_of(name: str, choices: Sequence[str], default: str) -> str:
            text = environ.get(name) or default
            if text not in choices:
                problems.append(f"{name}: {text!r} is none of {', '.join(choices)}")
            return text

        def names(name: str, default: str) -> tuple[str, ...]:
            return tuple(part.strip() for part in environ.get(name, default).split(",") if part.strip())

        db_uri = _from_file("PGRST_DB_URI", environ.get("PGRST_DB_URI", ""), problems)
        if not environ.get("PGRST_DB_URI"):
            problems.append(
                "PGRST_DB_URI: missing, for example postgresql://authenticator:PASSWORD@127.0.0.1:5432/data"
            )
        elif db_uri and not _is_connection_uri(db_uri):
            # Without libpq's own words, which may quote the password.
            problems.append("PGRST_DB_URI: not a connection URI; special characters in it are %-encoded")
        schemas = names("PGRST_DB_SCHEMAS", "")
        if not schemas:
            problems.append("PGRST_DB_SCHEMAS: missing, for example v1")
        for name, harmless in NOT_SUPPORTED.items():
            if environ.get(name, "").lower() not in ("", harmless):
                problems.append(f"{name}: not supported by this server; unset it, or use the real PostgREST")
        host = environ.get("PGRST_SERVER_HOST") or "127.0.0.1"
        admin_host = environ.get("PGRST_ADMIN_SERVER_HOST") or host
        config = cls(
            db_uri=db_uri,
            schemas=schemas,
            anon_role=environ.get("PGRST_DB_ANON_ROLE") or None,
            jwt_secret=_secret(environ.get("PGRST_JWT_SECRET", ""), problems),
            jwt_audience=environ.get("PGRST_JWT_AUD") or None,
            host=ANY_ADDRESS.get(host, host),
            port=number("PGRST_SERVER_PORT", 3000, 0, 65_535),
            pool_size=number("PGRST_DB_POOL", 10, 1, 1_000),
            pool_patience=number("PGRST_DB_POOL_ACQUISITION_TIMEOUT", 10, 1, 3_600),
            extra_search_path=names("PGRST_DB_EXTRA_SEARCH_PATH", "public"),
            channel=environ.get("PGRST_DB_CHANNEL") or "pgrst",
            max_rows=if_given("PGRST_DB_MAX_ROWS", 1_000, 1, 2**31 - 1),
            openapi_mode=one_of("PGRST_OPENAPI_MODE", MODES, FOLLOW_PRIVILEGES),
            log_level=one_of("PGRST_LOG_LEVEL", LOG_LEVELS, "error"),
            admin_host=ANY_ADDRESS.get(admin_host, admin_host),
            admin_port=if_given("PGRST_ADMIN_SERVER_PORT", 3001, 1, 65_535),
            max_body=number("CHT_INGEST_MAX_BODY", 256 * MEBIBYTE, 1, 900 * MEBIBYTE),
        )
        if config.admin_port is not None and config.admin_port == config.port:
            problems.append("PGRST_ADMIN_SERVER_PORT: the same as PGRST_SERVER_PORT")
        if not config.anon_role and not config.jwt_secret:
            problems.append("PGRST_JWT_SECRET: missing, and PGRST_DB_ANON_ROLE too: nobody could do anything")
        if problems:
            raise SettingsError(problems)
        return config


def _is_connection_uri(text: str) -> bool:
    try:
        parse_dsn(text)
    except psycopg2.ProgrammingError:
        return False
    return True


def _from_file(name: str, text: str, problems: list[str]) -> str:
    """The value itself, also where the variable names a file as `@path`; empty where that cannot be read."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{name}: cannot read {text[1:]}: {error}")
        return ""


def _secret(text: str, problems: list[str]) -> str | None:
    text = _from_file("PGRST_JWT_SECRET", text, problems)
    if not text:
        return None
    if text.lstrip().startswith("{"):
        problems.append("PGRST_JWT_SECRET: JSON web keys are not supported, only a plain secret for HS256")
        return None
    if len(text.encode()) < MIN_SECRET_BYTES:
        problems.append(
            f"PGRST_JWT_SECRET: shorter than {MIN_SECRET_BYTES} bytes; make one with: openssl rand -hex 32"
        )
        return None
    return text
