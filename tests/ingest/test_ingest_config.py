"""PostgREST's variables become settings, or one line per problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from cht_sync.errors import SettingsError
from cht_sync.ingest.config import IngestConfig

SECRET = "s" * 32
ENVIRON = {
    "PGRST_DB_URI": "postgresql://authenticator:hidden@127.0.0.1/data",
    "PGRST_DB_SCHEMAS": "v1, other",
    "PGRST_JWT_SECRET": SECRET,
}


def test_defaults_are_those_of_postgrest() -> None:
    config = IngestConfig.from_env(ENVIRON)
    assert config.schemas == ("v1", "other")
    assert (config.host, config.port, config.pool_size, config.pool_patience) == ("127.0.0.1", 3000, 10, 10)
    assert config.anon_role is None
    assert config.max_body == 256 * 1024 * 1024
    assert (config.max_rows, config.openapi_mode, config.log_level) == (None, "follow-privileges", "error")
    assert (config.admin_port, config.jwt_audience, config.channel) == (None, None, "pgrst")


def test_every_variable_is_read() -> None:
    config = IngestConfig.from_env(
        {
            **ENVIRON,
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_MAX_ROWS": "1000",
            "PGRST_DB_POOL": "12",
            "PGRST_DB_POOL_ACQUISITION_TIMEOUT": "7",
            "PGRST_DB_CHANNEL": "news",
            "PGRST_DB_TX_END": "commit",
            "PGRST_JWT_AUD": "ours",
            "PGRST_JWT_SECRET_IS_BASE64": "false",
            "PGRST_LOG_LEVEL": "info",
            "PGRST_OPENAPI_MODE": "disabled",
            "PGRST_SERVER_HOST": "!4",
            "PGRST_SERVER_PORT": "8000",
            "PGRST_ADMIN_SERVER_PORT": "8001",
        }
    )
    assert (config.anon_role, config.max_rows, config.pool_size, config.pool_patience) == (
        "anon",
        1000,
        12,
        7,
    )
    assert (config.channel, config.jwt_audience, config.log_level) == ("news", "ours", "info")
    assert (config.openapi_mode, config.host, config.port) == ("disabled", "0.0.0.0", 8000)
    assert (config.admin_host, config.admin_port) == ("0.0.0.0", 8001)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        IngestConfig.from_env(
            {
                "PGRST_SERVER_PORT": "http",
                "PGRST_DB_POOL": "0",
                "PGRST_DB_MAX_ROWS": "-1",
                "PGRST_JWT_SECRET": "short",
                "PGRST_LOG_LEVEL": "loud",
                "PGRST_OPENAPI_MODE": "on",
                "PGRST_ADMIN_SERVER_PORT": "3000",
                "PGRST_DB_PRE_REQUEST": "check_it",
                "PGRST_DB_TX_END": "rollback",
                "PGRST_JWT_ROLE_CLAIM_KEY": ".app.role",
            }
        )
    text = "\n".join(caught.value.problems)
    for name in (
        "PGRST_DB_URI",
        "PGRST_DB_SCHEMAS",
        "PGRST_SERVER_PORT",
        "PGRST_DB_POOL",
        "PGRST_DB_MAX_ROWS",
        "PGRST_JWT_SECRET",
        "PGRST_LOG_LEVEL",
        "PGRST_OPENAPI_MODE",
        "PGRST_ADMIN_SERVER_PORT",
        "PGRST_DB_PRE_REQUEST",
        "PGRST_DB_TX_END",
        "PGRST_JWT_ROLE_CLAIM_KEY",
    ):
        assert name in text


def test_a_broken_uri_is_named_and_not_quoted() -> None:
    with pytest.raises(SettingsError) as caught:
        IngestConfig.from_env({**ENVIRON, "PGRST_DB_URI": "postgresql://user:pass word@[host"})
    assert "PGRST_DB_URI" in str(caught.value)
    assert "pass word" not in str(caught.value)


def test_the_secret_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    assert IngestConfig.from_env({**ENVIRON, "PGRST_JWT_SECRET": f"@{file}"}).jwt_secret == SECRET


def test_secrets_are_not_shown() -> None:
    shown = repr(IngestConfig.from_env(ENVIRON))
    assert SECRET not in shown
    assert "hidden" not in shown
