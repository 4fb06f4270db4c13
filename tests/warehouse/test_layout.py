"""The layout of version 0.1.0, kept as a fixture: later versions must be able to take it over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from waiting import eventually

from cht_sync.errors import ChtSyncError
from warehouse.installation import Installation, headers, plain_owner, put
from warehouse.kept import LAYOUT, NAME, TABLES, columns, create, drop, load, rows


def test_the_script_takes_over_a_database_of_version_0_1_0_and_its_rows_are_unchanged(
    kept: Installation,
) -> None:
    known = {table: columns(kept, table) for table in TABLES}
    before = {table: rows(kept, table, known[table]) for table in TABLES}
    stamp = kept.value("select last_stamp from v1.cht_sync_state")
    assert all(before.values())
    kept.init("medic medic-sentinel")
    assert {table: rows(kept, table, known[table]) for table in TABLES} == before
    assert kept.query("select layout_version, last_stamp from v1.cht_sync_state") == [("0.4.0", stamp)]
    assert kept.query("select closed_at, closed_by from v1.dead_letters") == [(None, None)] * len(
        before["dead_letters"]
    )


def test_a_database_of_version_0_1_0_takes_writes_after_the_script(kept: Installation) -> None:
    kept.init("medic medic-sentinel")
    greatest = kept.value("select max(saved_timestamp) from v1.all_documents")
    with kept.connected() as connection, connection:
        put(connection, ("c0ffee", "3-new", {}), headers=headers(2, 1, seq="9-g1AAAA"))
    assert kept.value("select saved_timestamp from v1.medic where _id = 'c0ffee'") > greatest


def test_an_upgraded_database_has_the_layout_of_a_new_one(
    kept: Installation, installed: Installation
) -> None:
    report = kept.init("medic medic-sentinel")
    assert report[0] == "layout upgraded from 0.1.0 to 0.4.0"
    for part, question in LAYOUT.items():
        assert installed.query(question) == kept.query(question), part
    assert kept.init("medic medic-sentinel") == []


def test_an_upgrade_that_is_cut_off_has_changed_nothing(kept: Installation) -> None:
    before = [kept.query(question) for question in LAYOUT.values()]
    with closing(kept.connect()) as writer, ThreadPoolExecutor(1) as pool:
        put(writer, ("a", "9-a", {}), table="medic-sentinel")
        upgrade = pool.submit(kept.init, "medic medic-sentinel")
        waiting = (
            "select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        eventually(lambda: bool(kept.query(waiting)))
        kept.query(f"select pg_terminate_backend(pid) from ({waiting}) as _")
        with pytest.raises(ChtSyncError):
            upgrade.result()
        writer.commit()
    assert [kept.query(question) for question in LAYOUT.values()] == before
    kept.init("medic medic-sentinel")
    assert kept.value("select layout_version from v1.cht_sync_state") == "0.4.0"


def test_the_upgrade_does_not_wait_for_readers_of_documents(kept: Installation) -> None:
    """dbt may read for long; only what gets columns, the progress and the letters, must be free."""
    with closing(kept.connect()) as reader:
        reader.cursor().execute('select 1 from v1.medic, v1."medic-sentinel", v1.all_documents, v1.couchdb')
        while_read = kept.init("medic medic-sentinel", PGOPTIONS="-c lock_timeout=2s")
    assert while_read == ["layout upgraded from 0.1.0 to 0.4.0"]
    assert ("medic: documents that come are compressed with lz4" in kept.init("medic medic-sentinel")) == (
        "lz4" in kept.compressions()
    )


def test_an_owner_that_is_no_superuser_can_upgrade(postgres_server: Any) -> None:
    """On a server that somebody else runs; the roles and everything in the database are the owner's."""
    installation = Installation(postgres_server, NAME)
    roles = [f"{NAME}_{part}" for part in ("authenticator", "anon", "ingest", "superset", "dbt")]
    create(postgres_server)
    try:
        with plain_owner(installation) as (owner, password):
            make = "".join(f"create role {role};" for role in roles)
            installation.query(f"set role {owner}; {make} grant {NAME}_dbt to {owner}")
            load(postgres_server, user=owner, password=password)
            installation.init("medic medic-sentinel", owner=(owner, password))
            assert installation.value("select layout_version from v1.cht_sync_state") == "0.4.0"
            assert installation.init("medic medic-sentinel", owner=(owner, password)) == []
    finally:
        drop(postgres_server)
