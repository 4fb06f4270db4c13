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


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        IngestConfig.from_env(
            {"PGRST_SERVER_PORT": "http", "PGRST_DB_POOL": "0", "PGRST_JWT_SECRET": "short"}
        )
    text = "\n".join(caught.value.problems)
    for name in (
        "PGRST_DB_URI",
        "PGRST_DB_SCHEMAS",
        "PGRST_SERVER_PORT",
        "PGRST_DB_POOL",
        "PGRST_JWT_SECRET",
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
