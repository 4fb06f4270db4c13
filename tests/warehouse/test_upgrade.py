"""From 0.1.0 to now: a killed upgrade leaves the old layout or the new one, and the pipeline goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from couchdb_fixture import CouchDBServer
from reconcile.world import Place, World, found, only
from waiting import eventually

from cht_sync.reconcile.state import Kind
from warehouse.installation import SCRIPT, Installation
from warehouse.kept import LAYOUT, TABLES, columns, rows
from warehouse.served import listening

DATABASES = "medic medic-sentinel"
BUSY = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
WAITING = f"{BUSY} and wait_event_type = 'Lock'"
MODEL = """
    set role data_dbt;
    create view dbt.people as
      select _id, doc ->> 'name' as name from v1.medic where doc ->> 'type' = 'person';
    create table dbt.counted as select count(*) from v1.couchdb;
    reset role;
    create view v1.living as select _id from v1.all_documents where not _deleted;
    grant select on v1.living to data_dbt;
"""


def layout(installation: Installation) -> list[Any]:
    version = installation.value("select layout_version from v1.cht_sync_state")
    return [version, *(installation.query(question) for question in LAYOUT.values())]


def contents(installation: Installation, known: dict[str, list[str]]) -> dict[str, Any]:
    return {table: rows(installation, table, names) for table, names in known.items()}


@contextmanager
def upgrading(installation: Installation) -> Iterator[subprocess.Popen[bytes]]:
    """The script, in a session of its own."""
    running = subprocess.Popen(
        ["sh", str(SCRIPT)],
        env=installation.environment(DATABASES),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


@pytest.mark.parametrize("table", ["cht_sync_state", "couchdb_progress", "dead_letters", "medic-sentinel"])
def test_an_upgrade_that_is_killed_while_it_waits_for_a_table_has_changed_nothing(
    kept: Installation, table: str
) -> None:
    known = {name: columns(kept, name) for name in TABLES}
    before, data = layout(kept), contents(kept, known)
    with closing(kept.connect()) as other:
        other.cursor().execute(f'lock table v1."{table}" in exclusive mode')
        with upgrading(kept) as running:
            eventually(lambda: kept.value(WAITING) == 1)
            os.killpg(running.pid, signal.SIGKILL)
    eventually(lambda: kept.value(BUSY) == 0)
    assert layout(kept) == before
    assert contents(kept, known) == data
    assert kept.init(DATABASES)[0] == "layout upgraded from 0.1.0 to 0.4.0"
    assert contents(kept, known) == data


def test_an_upgrade_that_is_killed_at_any_moment_leaves_the_old_layout_or_the_new_one(
    kept: Installation, installed: Installation
) -> None:
    known = {name: columns(kept, name) for name in TABLES}
    old, data = layout(kept), contents(kept, known)
    new = layout(installed)
    dice, pause = random.Random(1), threading.Event()
    for _kill in range(20):
        with upgrading(kept) as running:
            pause.wait(dice.uniform(0, 0.25))
            os.killpg(running.pid, signal.SIGKILL)
        eventually(lambda: kept.value(BUSY) == 0)
        found_now = layout(kept)
        assert found_now in (old, new)
        assert contents(kept, known) == data
        if found_now == new:
            break
    kept.init(DATABASES)
    assert layout(kept) == new
    assert contents(kept, known) == data


@pytest.fixture
def world(kept: Installation, couchdb_server: CouchDBServer, tmp_path: Path) -> Iterator[World]:
    """A CouchDB with what version 0.1.0 has read, and one document before the position that it has not."""
    client = couchdb_server.client()
    names = DATABASES.split()
    for name in names:
        client.create_database(name)
    try:
        place = Place(couchdb_server.host, couchdb_server.port, couchdb_server.user, couchdb_server.password)
        with_roles = World(place, None, names[0], tmp_path, {"COUCHDB_DBS": DATABASES})  # type: ignore[arg-type]
        for name in names:
            stored = kept.query(f'select doc from v1."{name}"')
            with_roles.database = name
            with_roles.ask(
                "POST", "/_bulk_docs", json={"docs": [doc for (doc,) in stored], "new_edits": False}
            )
            with_roles.put("before the position")
            position = with_roles.ask("GET", "")["update_seq"]
            kept.query(
                "update v1.couchdb_progress set source = %s, seq = %s where database = %s",
                f"{place.host}/{name}",
                str(position),
                name,
            )
        with_roles.database = names[0]
        yield with_roles
    finally:
        for name in names:
            client.delete_database(name)
        client.close()


def test_after_the_upgrade_the_pipeline_goes_on_from_its_position_and_verify_finds_the_same(
    kept: Installation, world: World
) -> None:
    kept.query(MODEL)
    known = {name: columns(kept, name) for name in TABLES}
    before = contents(kept, known)
    kept.init(DATABASES)
    assert contents(kept, known) == before
    with listening(kept) as served:
        world.served = served
        world.put("new", type="person", name="Bea")
        rev = world.document("c0ffee")["_rev"]
        world.ask("PUT", "/c0ffee", json={"_rev": rev, "type": "data_record", "n": 2})
        with world.pipeline():
            eventually(lambda: "new" in world.rows() and world.rows()["c0ffee"][0].startswith("3-"))
            # A pipeline that had begun at the start would have brought it.
            assert found(world.verify()) == only(Kind.MISSING, "before the position")
            assert world.repair().finding.same
        assert [row for row in rows(kept, "medic", known["medic"]) if row[2] == "gone"] == [
            row for row in before["medic"] if row[2] == "gone"
        ]
        assert (
            kept.query("select seq is not null, rereading, problem from v1.couchdb_progress")
            == [(True, False, None)] * 2
        )
    with closing(kept.login("dbt")) as dbt, dbt, dbt.cursor() as cursor:
        cursor.execute("select name from dbt.people order by 1")
        assert cursor.fetchall() == [("Ada O'Neill",), ("Bea",)]
        cursor.execute("select count(*) from v1.living where _id = 'new'")
        assert cursor.fetchone() == (1,)
    with closing(kept.login("superset")) as superset, superset, superset.cursor() as cursor:
        cursor.execute("select count(*) from dbt.counted")
        assert cursor.fetchone() == (1,)
