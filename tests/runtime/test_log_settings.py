"""LOG_FORMAT and LOG_LEVEL reach every service of ours, as a process and as a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from cht_sync import render
from cht_sync.environments import Environment
from cht_sync.runtime.containers.handed_out import handed_out
from cht_sync.runtime.data_generator import DataGenerator
from cht_sync.runtime.dbt import Dbt
from cht_sync.runtime.postgrest import Postgrest
from cht_sync.settings import Settings, load

LOG = {"LOG_FORMAT": "json", "LOG_LEVEL": "debug"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    secrets = {"PGRST_JWT_SECRET": "s" * 32, "PGRST_DB_PASSWORD": "secret"}
    return load(Environment.LOCAL, home=tmp_path, environ={**LOG, **secrets})


@pytest.mark.parametrize("name", ["dbt", "data-generator", "postgrest"])
def test_a_process_is_told_as_variables(settings: Settings, name: str) -> None:
    services = {
        "dbt": lambda: Dbt(settings, wait_for_documents=False),
        "data-generator": lambda: DataGenerator(settings),
        "postgrest": lambda: Postgrest(settings),
    }
    assert LOG.items() <= services[name]().environment().items()


@pytest.mark.parametrize("name", ["dbt", "data-generator", "init-db", "cht-sync"])
def test_a_container_is_told_as_files(settings: Settings, name: str) -> None:
    assert LOG.items() <= handed_out(settings)[name].items()


@pytest.mark.parametrize("engine", ["native", "logstash"])
def test_the_pipelines_are_told_in_logstash_yml(settings: Settings, engine: str) -> None:
    lines = render.render(settings, engine=engine)["logstash.yml"].splitlines()
    assert {"log.format: json", "log.level: debug"} <= set(lines)


def test_the_embedded_ingest_gets_its_admin_port_only_where_one_is_set(tmp_path: Path) -> None:
    given = {"PGRST_JWT_SECRET": "s" * 32, "PGRST_DB_PASSWORD": "secret"}
    without = Postgrest(load(Environment.LOCAL, home=tmp_path, environ=given)).environment()
    assert "PGRST_ADMIN_SERVER_PORT" not in without
    given["POSTGREST_ADMIN_PORT"] = "13001"
    with_one = Postgrest(load(Environment.LOCAL, home=tmp_path, environ=given)).environment()
    assert with_one["PGRST_ADMIN_SERVER_PORT"] == "13001"
