"""dbt is parsed once for the whole session, and a warehouse is shared by most tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from postgres_fixture import PostgresServer

from cht_sync.transform.options import TransformOptions
from cht_sync.transform.runner import DbtRunner

from .warehouse import OWN_PACKAGE, Warehouse, create_warehouse
from .written_package import PROJECT, WrittenPackage


@pytest.fixture(scope="session")
def warehouse(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warehouse]:
    """Shared by all tests of the models: each uses document ids of its own."""
    options = create_warehouse(postgres_server, tmp_path_factory.mktemp("dbt"))
    with closing(psycopg2.connect(postgres_server.dsn(options.database))) as connection:
        yield Warehouse(connection, options)


@pytest.fixture(scope="session")
def dbt(warehouse: Warehouse) -> DbtRunner:
    """Our own package, kept warm."""
    return DbtRunner(warehouse.options)


@pytest.fixture
def fresh(warehouse: Warehouse, postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Warehouse]:
    """A warehouse for one test."""
    options = create_warehouse(postgres_server, tmp_path / "dbt")
    with closing(psycopg2.connect(postgres_server.dsn(options.database))) as connection:
        yield Warehouse(connection, options)


@pytest.fixture
def package(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[WrittenPackage]:
    """A package without models, and a warehouse for one test."""
    folder = tmp_path / "written"
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text(PROJECT)
    options = create_warehouse(postgres_server, tmp_path / "dbt")
    with closing(psycopg2.connect(postgres_server.dsn(options.database))) as connection:
        yield WrittenPackage(Warehouse(connection, options), folder)


@pytest.fixture
def nowhere(tmp_path: Path) -> TransformOptions:
    """Options of a warehouse that is not there."""
    return TransformOptions(
        project=OWN_PACKAGE,
        profiles=OWN_PACKAGE.parent.parent,
        work_folder=tmp_path / "work",
        host="localhost",
        port=1,
        user="nobody",
        password="s3cret",
        database="none",
        update_interval=60,
    )
