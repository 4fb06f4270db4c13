"""Installations that are taken down whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from superset_client import Client
from whole_installation import Installation, wait_for

from cht_sync.runtime import superset
from cht_sync.settings import CHECKOUT, STATE_FOLDER

DOCUMENTS = 500


@pytest.fixture
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A fresh installation with two databases; nothing runs yet."""
    home = tmp_path_factory.mktemp("home")
    made = Installation(home, {"COUCHDB_DBS": "medic medic-sentinel", "DATAEMON_INTERVAL": "1"})
    yield made
    _take_down(made)


@pytest.fixture(scope="session")
def with_superset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A local environment with dashboards and a quiet CouchDB: documents, and nobody who changes them.

    Superset itself is installed once for all runs of the tests, beside the checkout's own.
    """
    if superset.python() is None:
        pytest.skip(f"Superset runs on Python {' and '.join(superset.SUPPORTED_PYTHON)} only")
    home = tmp_path_factory.mktemp("superset")
    kept = CHECKOUT / STATE_FOLDER / "superset"
    kept.mkdir(parents=True, exist_ok=True)
    (home / STATE_FOLDER).mkdir(mode=0o700)
    (home / STATE_FOLDER / "superset").symlink_to(kept)
    databases = "medic medic-sentinel medic-users-meta _users"
    made = Installation(home, {"COUCHDB_DBS": databases, "DATAEMON_INTERVAL": "1"})
    try:
        made.run("up", "--detach", "--without", "data-generator", timeout=900)
        made.run("generate", "--docs", str(DOCUMENTS))
        wait_for(lambda: _reports(made) > 0 and _settled(made), "the models to settle", made.logs)
        yield made
    finally:
        _take_down(made)


@pytest.fixture
def administrator(with_superset: Installation) -> Client:
    """Whoever set it up."""
    settings = with_superset.settings
    return Client(f"http://127.0.0.1:{settings.superset_port}", "admin", settings.superset_password)


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where pictures of the dashboards are kept, for whoever wants to look at them after the tests."""
    folder = CHECKOUT / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _reports(installation: Installation) -> int:
    (table,) = installation.sql("select to_regclass('dbt.data_record') is not null")
    return int(installation.sql("select count(*) from dbt.data_record")[0][0]) if table[0] else 0


def _settled(installation: Installation) -> bool:
    stored, covered = (
        installation.sql(query)[0][0]
        for query in (
            "select max(saved_timestamp) from v1.all_documents",
            "select max(documents_until) from dbt.dbt_runs",
        )
    )
    return covered is not None and covered >= stored


def _take_down(made: Installation) -> None:
    made.run("down", "--volumes", "--yes", check=False)
    left = made.processes()
    for process in left:
        process.kill()
    assert left == []
