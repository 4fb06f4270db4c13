"""One configuration for the real PostgREST and for the embedded mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.ingest.config import IngestConfig
from cht_sync.pipeline.postgrest import writer
from cht_sync.runtime import postgrest_conf
from cht_sync.runtime.postgrest import Postgrest
from cht_sync.settings import Settings, load

# The headings of docs/references/configuration.rst in PostgREST's repository, at the tags v12.2.12,
# v13.0.8 and v14.17.
IN_ALL_THREE = """
    admin-server-port app.settings.* db-aggregates-enabled db-anon-role db-channel db-channel-enabled
    db-config db-pre-config db-extra-search-path db-hoisted-tx-settings db-max-rows db-plan-enabled
    db-pool db-pool-acquisition-timeout db-pool-max-idletime db-pool-max-lifetime
    db-pool-automatic-recovery db-pre-request db-prepared-statements db-root-spec db-schemas db-tx-end
    db-uri jwt-aud jwt-role-claim-key jwt-secret log-level openapi-mode openapi-security-active
    openapi-server-proxy-uri server-cors-allowed-origins server-host server-port server-trace-header
    server-timing-enabled server-unix-socket server-unix-socket-mode
"""
ONLY_IN_12 = "admin-server-config-enabled jwt-cache-max-lifetime"
SINCE_13 = "admin-server-host log-query"

PLACES = {
    "PGRST_DB_URI": "postgresql://data_authenticator:secret@127.0.0.1:5432/data",
    "PGRST_DB_SCHEMAS": "v1",
    "PGRST_DB_ANON_ROLE": "data_anon",
    "PGRST_JWT_SECRET": "s" * 32,
}


def settings(databases: int) -> Settings:
    names = " ".join(f"medic{number}" for number in range(databases))
    return load(
        Environment.LOCAL,
        home=Path("nowhere"),
        environ={"COUCHDB_DBS": names, "PGRST_JWT_SECRET": "s" * 32, "PGRST_DB_PASSWORD": "secret"},
    )


def test_every_key_exists_in_postgrest_12_13_and_14() -> None:
    assert set(postgrest_conf.read(PLACES)) <= set(IN_ALL_THREE.split())


def test_the_file_holds_no_secret() -> None:
    text = postgrest_conf.FILE.read_text()
    for key in ("db-uri", "jwt-secret"):
        [line] = [one for one in text.splitlines() if one.startswith(f"{key} =")]
        assert line.partition(" = ")[2].startswith('"$(')


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(ChtSyncError, match="PGRST_JWT_SECRET is not set"):
        postgrest_conf.read({key: value for key, value in PLACES.items() if key != "PGRST_JWT_SECRET"})


def test_the_embedded_mode_runs_with_the_values_of_the_file() -> None:
    environment = Postgrest(settings(1)).environment()
    in_file = postgrest_conf.as_environment(postgrest_conf.read(PLACES))
    differing = {name for name in in_file if environment.get(name) != in_file[name]}
    assert differing <= {*PLACES, "PGRST_SERVER_HOST", "PGRST_SERVER_PORT", "PGRST_ADMIN_SERVER_PORT"}
    assert environment["PGRST_SERVER_HOST"] == "127.0.0.1"
    config = IngestConfig.from_env(environment)
    assert (config.openapi_mode, config.max_rows, config.log_level) == ("disabled", 1000, "warn")


@pytest.mark.parametrize("databases", [1, 10, 40])
def test_there_are_more_connections_than_writers(databases: int) -> None:
    environment = Postgrest(settings(databases)).environment()
    assert int(environment["PGRST_DB_POOL"]) >= databases + 10


def test_no_page_that_the_pipeline_asks_for_is_cut() -> None:
    assert int(postgrest_conf.read(PLACES)["db-max-rows"]) >= writer.PAGE
