"""A backup of the warehouse that is restored resumes where its data ends, and misses nothing after that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from couchdb_fixture import CouchDBServer
from postgres_fixture import PostgresServer, on_every_server
from psycopg2 import sql
from running_pipeline import RunningPipeline
from waiting import eventually
from warehouse.installation import Installation
from warehouse.served import Served, listening

from cht_sync import process
from cht_sync.generator import Client
from cht_sync.pipeline import input_runner

pytest_generate_tests = on_every_server


class Backup:
    """What pg_dump wrote, and how it is put back."""

    def __init__(self, installation: Installation, databases: str, file: Path) -> None:
        self._installation = installation
        self._databases = databases
        self._file = file
        server = installation.server
        self._environment = {
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": server.user,
            "PGPASSWORD": server.password,
        }
        self._run("pg_dump", "--format=custom", f"--file={file}", installation.name)

    def restore(self) -> None:
        """Into a new database of the same name, as on another server.

        A PostgREST that has seen it empty is told of its tables by init-db.
        """
        server, name = self._installation.server, sql.Identifier(self._installation.name)
        connection = psycopg2.connect(server.dsn())
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("drop database {} with (force)").format(name))
            cursor.execute(sql.SQL("create database {}").format(name))
        connection.close()
        self._run("pg_restore", f"--dbname={self._installation.name}", "--single-transaction", self._file)
        self._installation.init(self._databases)

    def restore_in_place(self) -> None:
        """Over what is there, in one transaction, while everything runs."""
        options = ["--single-transaction", "--clean", "--if-exists"]
        self._run("pg_restore", f"--dbname={self._installation.name}", *options, self._file)

    def _run(self, program: str, *arguments: str | Path) -> None:
        process.run([self._installation.server.programs / program, *arguments], env=self._environment)


@pytest.fixture
def warehouse(postgres_server: PostgresServer, database: str, couchdb_database: str) -> Iterator[Served]:
    installation = Installation(postgres_server, database)
    installation.init(couchdb_database)
    try:
        with listening(installation) as one:
            yield one
    finally:
        installation.drop_roles()


@pytest.fixture
def couchdb(couchdb_server: CouchDBServer) -> Iterator[Client]:
    client = couchdb_server.client()
    yield client
    client.close()


@pytest.fixture
def line(
    tmp_path: Path,
    warehouse: Served,
    couchdb_server: CouchDBServer,
    couchdb_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[RunningPipeline]:
    monkeypatch.setattr(input_runner, "STANDBY", 0.05)
    made = RunningPipeline(
        tmp_path,
        warehouse,
        couchdb_server.port,
        user=couchdb_server.user,
        password=couchdb_server.password,
        database=couchdb_database,
    )
    yield made
    made.stop()


class Documents:
    """What CouchDB is given, and what it then has."""

    def __init__(self, client: Client, database: str) -> None:
        self._client = client
        self._database = database
        self._ids: set[str] = set()
        self.deleted: set[str] = set()

    def write(self, *ids: str, deleted: bool = False) -> None:
        states = self._client.states(self._database, ids)
        documents: list[dict[str, Any]] = [
            {"_id": id, **({"_rev": states[id].revision} if id in states else {}), "n": len(self._ids)}
            for id in ids
        ]
        if deleted:
            self.deleted |= set(ids)
            documents = [{**document, "_deleted": True} for document in documents]
        assert self._client.write(self._database, documents) == set(ids)
        self._ids |= set(ids)

    def revisions(self) -> dict[str, str]:
        states = self._client.states(self._database, sorted(self._ids - self.deleted))
        return {id: state.revision for id, state in states.items()}


@pytest.fixture
def documents(couchdb: Client, couchdb_database: str) -> Documents:
    return Documents(couchdb, couchdb_database)


def everything_equals(line: RunningPipeline, documents: Documents) -> None:
    line.await_rows(documents.revisions())
    eventually(lambda: line.tombstones() == documents.deleted)


def test_a_backup_restored_while_the_pipeline_was_stopped_resumes_where_its_data_ends(
    line: RunningPipeline, documents: Documents, warehouse: Served, couchdb_database: str, tmp_path: Path
) -> None:
    documents.write("kept", "changed", "deleted", "deleted before")
    documents.write("deleted before", deleted=True)
    line.start()
    everything_equals(line, documents)
    line.stop()
    backup, position = (
        Backup(warehouse.installation, couchdb_database, tmp_path / "backup"),
        line.progress("seq", "pending"),
    )
    documents.write("changed", "new")
    documents.write("deleted", deleted=True)
    line.start()
    everything_equals(line, documents)
    line.stop()
    assert line.progress("seq", "pending") != position

    backup.restore()
    assert line.progress("seq", "pending") == position
    assert "new" not in line.rows()
    documents.write("newer")
    line.start()
    everything_equals(line, documents)


def test_a_backup_restored_under_the_running_pipeline_resumes_where_its_data_ends(
    line: RunningPipeline, documents: Documents, warehouse: Served, couchdb_database: str, tmp_path: Path
) -> None:
    documents.write("kept", "changed", "deleted")
    line.start()
    everything_equals(line, documents)
    backup = Backup(warehouse.installation, couchdb_database, tmp_path / "backup")
    documents.write("changed", "lost by the restore")
    documents.write("deleted", deleted=True)
    everything_equals(line, documents)

    backup.restore_in_place()
    documents.write("after the restore")
    everything_equals(line, documents)


def test_a_server_that_knows_only_an_older_epoch_does_not_confuse_the_writer(
    line: RunningPipeline, documents: Documents, warehouse: Served, couchdb_database: str, tmp_path: Path
) -> None:
    documents.write("kept")
    line.start()
    everything_equals(line, documents)
    backup = Backup(warehouse.installation, couchdb_database, tmp_path / "backup")
    (old_epoch,) = line.progress("epoch")
    for _takeover in range(3):
        line.stop()
        line.start()
    documents.write("changed", "lost by the restore")
    everything_equals(line, documents)
    (epoch,) = line.progress("epoch")

    backup.restore()
    assert line.progress("epoch") == (old_epoch,)
    documents.write("after the restore")
    everything_equals(line, documents)
    assert line.progress("epoch") > (epoch,)
