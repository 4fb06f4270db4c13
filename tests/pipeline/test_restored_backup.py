"""A backup of the warehouse that is restored resumes where its data ends, and misses nothing after that."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from couchdb_fixture import CouchDBServer
from postgres_fixture import PostgresServer, cluster, on_every_server
from psycopg2 import sql
from reconcile.world import Place, World, found, only
from running_pipeline import RunningPipeline
from waiting import eventually
from warehouse.installation import Installation
from warehouse.served import Served, listening

from cht_sync import process
from cht_sync.errors import ChtSyncError
from cht_sync.generator import Client
from cht_sync.pipeline import input_runner
from cht_sync.reconcile.state import Kind

pytest_generate_tests = on_every_server


class Backup:
    """What pg_dump wrote, and how it is put back."""

    def __init__(self, installation: Installation, databases: str, file: Path) -> None:
        self._installation = installation
        self._databases = databases
        self._file = file
        self._environment = environment_of(installation.server)
        self._run("pg_dump", "--format=custom", f"--file={file}", installation.name)

    def restore(self) -> None:
        """Into a new database of the same name, as on another server.

        A PostgREST that has seen it empty is told of its tables by init-db.
        """
        server, name = self._installation.server, sql.Identifier(self._installation.name)
        connection = psycopg2.connect(server.dsn())
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("drop database if exists {} with (force)").format(name))
            cursor.execute(sql.SQL("create database {}").format(name))
        connection.close()
        self._run("pg_restore", f"--dbname={self._installation.name}", "--single-transaction", self._file)
        self._installation.init(self._databases)

    def restore_in_place(self) -> None:
        """Over what is there, in one transaction, while everything runs."""
        options = ["--single-transaction", "--clean", "--if-exists"]
        self._run("pg_restore", f"--dbname={self._installation.name}", *options, self._file)

    def onto(self, installation: Installation) -> Backup:
        """The same dump, for another server."""
        other = copy.copy(self)
        other._installation, other._environment = installation, environment_of(installation.server)
        return other

    def _run(self, program: str, *arguments: str | Path) -> None:
        process.run([self._installation.server.programs / program, *arguments], env=self._environment)


def environment_of(server: PostgresServer) -> dict[str, str]:
    return {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.user,
        "PGPASSWORD": server.password,
    }


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
    monkeypatch.setattr(input_runner, "LOOK_EVERY", 0.05)
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


# Everything that an installation has: documents, deletions, dead letters, notes, models, roles.

DOCUMENTS = 300


@pytest.fixture
def world(warehouse: Served, couchdb_server: CouchDBServer, couchdb_database: str, tmp_path: Path) -> World:
    place = Place(couchdb_server.host, couchdb_server.port, couchdb_server.user, couchdb_server.password)
    return World(place, warehouse, couchdb_database, tmp_path)


def fill(world: World) -> None:
    """Load all kinds of documents through the real pipeline, and make a model as dbt does."""
    world.query("alter table {} add constraint no_refused check (not doc ? 'refused')")
    for start in range(0, DOCUMENTS, 100):
        world.put(*(f"d{number:03}" for number in range(start, start + 100)))
    world.put("refused", refused=True)
    world.put("replaced", text="a\0b")
    eventually(lambda: len(world.rows()) == DOCUMENTS + 1 and len(world.letters()) == 1)
    world.delete("d000", "d001")
    eventually(lambda: sum(row[1] for row in world.rows().values()) == 2)
    with world.installation.login("dbt") as dbt, dbt.cursor() as cursor:
        cursor.execute(world.sql("create table dbt.living as select _id from {} where not _deleted"))
        cursor.execute("create view dbt.counted as select count(*) from dbt.living")


def go_on(world: World, name: str, *, deleted: str) -> None:
    """Updates, deletions, new documents, another dead letter."""
    world.put("d010", "d011", "d012", f"new {name}")
    world.delete(deleted)
    world.put("d000")
    world.put(f"refused {name}", refused=True)


def letters(world: World) -> set[str]:
    return {letter[0] for letter in world.letters()}


def everything_is_there(world: World, *, refused: set[str]) -> None:
    """All but the dead letters is the same, also in content; nothing is there twice."""
    eventually(
        lambda: (
            letters(world) == refused and found(world.verify(wait=0)) == only(Kind.DEAD_LETTERED, *refused)
        )
    )
    assert world.run("resync", world.database, "--json").stdout.find('"written": 0,') > 0
    assert len(world.letters()) == len(refused)
    assert world.installation.query("select doc_id, replaced from v1.replaced_values") == [("replaced", 1)]
    assert world.query("select count(*), count(distinct source) from {}") == [(len(world.rows()), 1)]


def models_are_there_and_dbts(world: World) -> None:
    with world.installation.login("dbt") as dbt, dbt.cursor() as cursor:
        cursor.execute("insert into dbt.living values ('one more'); drop view dbt.counted;")
        cursor.execute("create view dbt.counted as select count(*) as people from dbt.living")
        cursor.execute("create table dbt.made_later as select 1 as one")
    with world.installation.login("superset") as superset, superset.cursor() as cursor:
        cursor.execute("select people, one from dbt.counted, dbt.made_later")
        assert cursor.fetchall() == [(DOCUMENTS, 1)]
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute(world.sql("select from {}"))


@pytest.mark.parametrize("in_place", [False, True], ids=["into a new database", "in place"])
def test_everything_is_there_after_a_restore_under_the_running_pipeline(
    line: RunningPipeline, world: World, couchdb_database: str, tmp_path: Path, in_place: bool
) -> None:
    line.start()
    fill(world)
    backup = Backup(world.installation, couchdb_database, tmp_path / "backup")
    go_on(world, "before the restore", deleted="d020")
    eventually(lambda: letters(world) == {"refused", "refused before the restore"})
    if in_place:
        backup.restore_in_place()
    else:
        backup.restore()
    go_on(world, "after the restore", deleted="d021")
    refused = {"refused", "refused before the restore", "refused after the restore"}
    everything_is_there(world, refused=refused)
    models_are_there_and_dbts(world)


def test_a_new_server_gets_its_roles_from_init_db_and_then_the_dump(
    line: RunningPipeline,
    world: World,
    couchdb_server: CouchDBServer,
    couchdb_database: str,
    tmp_path: Path,
) -> None:
    line.start()
    fill(world)
    backup = Backup(world.installation, couchdb_database, tmp_path / "backup")
    position = line.progress("seq", "epoch")
    go_on(world, "after the dump", deleted="d020")
    line.stop()
    with cluster(tmp_path / "elsewhere", world.installation.server.programs) as server:
        there = Installation(server, world.installation.name)
        moved = backup.onto(there)
        with pytest.raises(ChtSyncError, match=f'role "{there.name}_[a-z]+" does not exist'):
            moved.restore()
        there.init(couchdb_database)
        moved.restore()
        with listening(there) as served:
            restored = World(world.couch, served, world.database, world.home)
            (tmp_path / "there").mkdir()
            resumed = RunningPipeline(
                tmp_path / "there",
                served,
                couchdb_server.port,
                user=couchdb_server.user,
                password=couchdb_server.password,
                database=couchdb_database,
            )
            assert resumed.progress("seq", "epoch") == position
            resumed.start()
            try:
                everything_is_there(restored, refused={"refused", "refused after the dump"})
                models_are_there_and_dbts(restored)
            finally:
                resumed.stop()


def test_a_view_newer_than_the_dump_refuses_a_restore_in_place_and_a_new_database_takes_it(
    line: RunningPipeline, world: World, couchdb_database: str, tmp_path: Path
) -> None:
    line.start()
    fill(world)
    backup = Backup(world.installation, couchdb_database, tmp_path / "backup")
    with world.installation.login("dbt") as dbt, dbt.cursor() as cursor:
        cursor.execute(world.sql("create view dbt.newer as select _id from {}"))
    go_on(world, "after the dump", deleted="d020")
    refused = {"refused", "refused after the dump"}
    everything_is_there(world, refused=refused)
    before = world.rows()
    with pytest.raises(ChtSyncError, match="other objects depend on it"):
        backup.restore_in_place()
    assert world.rows() == before
    backup.restore()
    # An idle pipeline would notice at its next sign of life, within a minute.
    go_on(world, "after the restore", deleted="d021")
    everything_is_there(world, refused=refused | {"refused after the restore"})
