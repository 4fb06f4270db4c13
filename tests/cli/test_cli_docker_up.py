"""`up` with containers asks servers of others first; no engine is needed to see it refuse."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from free_ports import free_port
from settings.test_settings import COMPLETE

from cht_sync.cli import docker, main
from cht_sync.environments import Environment
from cht_sync.errors import ChtSyncError
from cht_sync.runtime.containers import recorded, running
from cht_sync.settings import STATE_FOLDER, declared, load


class Prepared(ChtSyncError):
    """As far as these tests go."""


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings of prod whose PostgreSQL and CouchDB do not answer, on this machine as containers call it."""

    def prepare(*_arguments: object) -> None:
        raise Prepared("prepared")

    engine = SimpleNamespace(processors=lambda: 2)
    monkeypatch.setattr(docker.engines, "connected", lambda: nullcontext(engine))
    monkeypatch.setattr(docker.compose, "version", lambda: "2.40")
    monkeypatch.setattr(docker, "refuse_a_full_disk", lambda _engine: None)
    monkeypatch.setattr(running, "prepare", prepare)
    return COMPLETE | {
        "COUCHDB_HOST": "host.docker.internal",
        "COUCHDB_PORT": str(free_port()),
        "POSTGRES_HOST": "host.docker.internal",
        "POSTGRES_PORT": str(free_port()),
    }


def up(home: Path, variables: dict[str, str], *more: str) -> Result:
    unset: dict[str, str | None] = {name: None for name, _variable in declared()}
    words = ["up", "--env", "prod", "--runtime", "docker", "--detach", *more]
    return CliRunner().invoke(main, words, env={**unset, "CHT_SYNC_HOME": str(home), **variables})


def test_a_postgresql_that_does_not_answer_is_refused_and_nothing_is_prepared(
    tmp_path: Path, nowhere: dict[str, str]
) -> None:
    refused = up(tmp_path, nowhere)
    assert refused.exit_code == 2
    assert f"PostgreSQL at 127.0.0.1:{nowhere['POSTGRES_PORT']} cannot be reached" in refused.stderr
    assert "Nothing was started." in refused.stderr
    assert not (tmp_path / STATE_FOLDER).exists()


def test_settings_and_servers_are_refused_in_one_round(tmp_path: Path, nowhere: dict[str, str]) -> None:
    refused = up(tmp_path, nowhere | {"SUPERSET_SECRET_KEY": "thisISaSECRET_1234", "COUCHDB_HOST": "8.8.8.8"})
    assert refused.exit_code == 2
    assert "SUPERSET_SECRET_KEY is shorter than 32 bytes" in refused.stderr
    assert "COUCHDB_SECURE" in refused.stderr
    assert f"PostgreSQL at 127.0.0.1:{nowhere['POSTGRES_PORT']} cannot be reached" in refused.stderr
    # Its password must not go there in the clear.
    assert "CouchDB at" not in refused.stderr


def test_more_processors_than_there_are_are_refused(tmp_path: Path, nowhere: dict[str, str]) -> None:
    left_out = [word for name in ("postgrest", "dbt", "superset") for word in ("--without", name)]
    given = nowhere | {"HTTP_ENDPOINT": "postgrest.example.org:3000", "DBT_CPUS": "99"}
    refused = up(tmp_path, given, *left_out)
    assert refused.exit_code == 2
    assert "DBT_CPUS 99 is more than the 2 that the machine has" in refused.stderr


def test_a_couchdb_that_is_away_only_warns(tmp_path: Path, nowhere: dict[str, str]) -> None:
    left_out = [word for name in ("postgrest", "dbt", "superset") for word in ("--without", name)]
    started = up(tmp_path, nowhere | {"HTTP_ENDPOINT": "postgrest.example.org:3000"}, *left_out)
    assert "the pipelines wait for it" in started.stdout
    assert started.stderr == "error: prepared\n"


def test_what_runs_already_is_asked_only_for_other_settings(tmp_path: Path, nowhere: dict[str, str]) -> None:
    given = dict(load(Environment.PROD, home=tmp_path, environ=nowhere).given)
    record = recorded.Recorded(Environment.PROD, "cht-sync", [], {}, [], given)
    recorded.write(tmp_path / STATE_FOLDER, record)
    assert up(tmp_path, nowhere).stderr == "error: prepared\n"
    assert up(tmp_path, nowhere | {"POSTGRES_PORT": str(free_port())}).exit_code == 2
