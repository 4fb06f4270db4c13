"""Moving while people write and pipelines run, and from tables in which something is wrong."""

from __future__ import annotations

import json
import random
import threading
from typing import Any

import pytest
from load.history import keep_history, stamps_in_visible_order, steps_back
from psycopg2 import sql
from reconcile.world import edited
from waiting import eventually

from cht_sync.errors import ChtSyncError
from cht_sync.load import auto
from cht_sync.migrate import batches, rows, run
from cht_sync.migrate.plan import moves as moves_in
from cht_sync.migrate.run import Taken
from cht_sync.runtime.status import databases_and_models
from migrate.country import OLD_SCHEMA, SHAPES, Country

IDS = [f"{number:04x}" for number in range(400)]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_written_meanwhile_is_there_and_no_row_goes_back(country: Country, shape: str) -> None:
    medic = country.medic
    medic.put(*IDS)
    country.was_read_by(shape)
    medic.put(*IDS[:20], "new")
    keep_history(medic)
    # Else the pipeline may have read all of it before.
    run.begin(medic.settings, moves_in(medic.settings, None, None).moves[0])
    with medic.pipeline(), edited(medic, IDS, random.Random(shape)):
        result = country.run("run", "--database", medic.database)
        assert result.exit_code == 0
    with medic.pipeline():
        eventually(lambda: medic.rows() == medic.winners())
    assert steps_back(medic) == []
    assert stamps_in_visible_order(medic)
    assert medic.verify().finding.same


def test_the_pipeline_goes_on_from_the_sequence_and_brings_only_what_came_after_it(country: Country) -> None:
    medic = country.medic
    medic.put(*IDS)
    country.couch2pg()
    medic.put(IDS[0], "new")
    medic.delete(IDS[1])
    assert country.run("run").exit_code == 0
    stamp = country.query("select last_stamp from v1.cht_sync_state")[0][0]
    with medic.pipeline():
        eventually(lambda: medic.rows() == medic.winners())
    brought = medic.query("select _id from {} where saved_timestamp > %s order by _id", stamp)
    assert [one for (one,) in brought] == sorted([IDS[0], IDS[1], "new"])


def test_what_the_earlier_program_has_lost_or_left_as_it_was_is_read_from_couchdb(country: Country) -> None:
    medic = country.medic
    medic.put(*IDS)
    country.couch2pg()
    country.query("delete from couchdb where doc ->> '_id' = any(%s)", IDS[:5])
    country.query(
        """update couchdb set doc = doc || '{"_rev": "1-0", "stale": true}' where doc ->> '_id' = any(%s)""",
        IDS[5:9],
    )
    result = country.run("run")
    assert result.exit_code == 0
    assert country.is_complete()
    assert "391 rows moved, 9 more read from CouchDB" in result.output


def test_an_id_that_two_databases_have_is_right_in_both(country: Country) -> None:
    country.medic.put("settings", "_design/medic", of="medic")
    country.sentinel.put("settings", "_design/medic", of="sentinel")
    country.couch2pg()
    assert country.run("run").exit_code == 0
    assert country.is_complete()


def test_rows_that_are_no_documents_are_passed_over(country: Country) -> None:
    country.medic.put("a")
    country.couch2pg()
    for junk in (
        None,
        "null",
        "[]",
        "1",
        "{}",
        '{"_id": "x"}',
        '{"_rev": "1-x"}',
        '{"_id": "", "_rev": "1-x"}',
    ):
        country.query("insert into couchdb_medic_logs values (%s)", junk)
        country.query("insert into couchdb values (%s)", junk and junk.replace('"x"', '"y"'))
    assert country.run("run").exit_code == 0
    assert country.is_complete()
    assert "8 rows there without a document" in country.run("check").output


def test_the_newest_of_a_document_that_an_old_table_has_twice_counts(country: Country) -> None:
    users_meta = country.users_meta
    users_meta.put("a")
    country.couch2pg()
    country.query(
        "insert into couchdb_users_meta values (%s)", json.dumps({"_id": "a", "_rev": "0-1", "n": "older"})
    )
    result = country.run("run")
    assert country.is_complete()
    assert f"{users_meta.database}: 1 row moved, 0 more read from CouchDB" in result.output


def stopped_after_one_batch(country: Country, monkeypatch: pytest.MonkeyPatch) -> Taken:
    """Move the first blocks of medic's rows and stop there."""
    monkeypatch.setattr(batches, "FIRST_BLOCKS", 1)
    settings = country.medic.settings
    move = moves_in(settings, None, None).moves[0]
    assert not run.begin(settings, move)[0].ended
    stop = threading.Event()
    return run.run(settings, move, stop, lambda _moved, _blocks: stop.set(), lambda _progress: None)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_that_is_stopped_goes_on_where_it_was(
    country: Country, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    country.medic.put(*IDS)
    country.was_read_by(shape)
    taken = stopped_after_one_batch(country, monkeypatch)
    assert (taken.ended, taken.moved.next_block) == (False, 1)
    assert 0 < len(country.medic.rows()) < len(IDS)
    assert country.query("select count(*) from v1.couchdb_progress") == [(0,)]
    assert country.run("run").exit_code == 0
    assert country.is_complete()


def test_status_shows_rows_that_are_taken_over_until_the_database_is_handed_over(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    taken = stopped_after_one_batch(country, monkeypatch)
    shown = migrations_in_status(country)
    migration = shown.pop(country.medic.database)
    assert migration is not None
    assert (migration["relation"], migration["rows"]) == ("public.couchdb", taken.moved.read)
    assert not any(shown.values())
    assert country.run("run").exit_code == 0
    assert not any(migrations_in_status(country).values())


def migrations_in_status(country: Country) -> dict[str, dict[str, Any] | None]:
    """By database, of what is taken over."""
    status = databases_and_models(country.medic.settings)
    return {one["name"]: one["migration"] for one in status["databases"]}


def test_a_database_that_is_being_moved_is_not_loaded_in_parallel_by_itself(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    stopped_after_one_batch(country, monkeypatch)
    country.medic.query("truncate {}")
    settings = country.with_settings(LOAD_FROM_DOCUMENTS="10").medic.settings
    auto.begin_what_is_due(settings, chunk_size=50)
    assert country.query("select count(*) from v1.cht_sync_loads") == [(0,)]


def test_an_old_table_that_was_rewritten_meanwhile_is_read_from_its_start(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    stopped_after_one_batch(country, monkeypatch)
    with country.medic.installation.connected() as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("delete from couchdb where doc ->> '_id' < '0010'; ")
            cursor.execute("vacuum full couchdb")
    result = country.run("run", "--database", country.medic.database)
    assert result.exit_code == 0
    assert country.medic.rows() == country.medic.winners()


def test_an_old_table_that_is_gone_is_told(country: Country, monkeypatch: pytest.MonkeyPatch) -> None:
    country.medic.put(*IDS)
    country.cht_sync_2()
    stopped_after_one_batch(country, monkeypatch)
    settings = country.medic.settings
    move = moves_in(settings, None, None).moves[0]
    country.query(f"drop table {OLD_SCHEMA}.couchdb")
    with pytest.raises(ChtSyncError, match=f"{OLD_SCHEMA}.couchdb is gone"):
        run.run(settings, move, threading.Event(), lambda _moved, _blocks: None, lambda _progress: None)


def test_an_old_table_that_is_dropped_in_the_middle_is_told_and_remembered(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    medic = country.medic
    medic.put(*IDS)
    country.users_meta.put("telemetry")
    country.couch2pg()
    monkeypatch.setattr(batches, "FIRST_BLOCKS", 1)
    move = moves_in(medic.settings, None, None).moves[0]
    run.begin(medic.settings, move)
    with pytest.raises(ChtSyncError, match=r"public\.couchdb is gone"):
        run.run(
            medic.settings,
            move,
            threading.Event(),
            lambda _moved, _blocks: country.query("drop table if exists couchdb cascade") and None,
            lambda _progress: None,
        )
    half = f"{medic.database}: its rows of public.couchdb are not all moved, and that table is gone"
    assert half in country.run("plan").output
    result = country.run("run")
    assert (result.exit_code, half in result.output) == (1, True)
    check = country.run("check")
    assert (check.exit_code, half in check.output) == (3, True)


def test_two_runs_at_the_same_time_share_the_work(country: Country) -> None:
    country.medic.put(*IDS)
    country.couch2pg()
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(_run(country)), daemon=True) for _number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [taken.ended for taken in results] == [True, True]
    assert country.medic.rows() == country.medic.winners()
    assert country.query("select moved from v1.cht_sync_migrations") == [(len(IDS),)]


def _run(country: Country) -> Taken:
    settings = country.medic.settings
    move = moves_in(settings, None, None).moves[0]
    run.begin(settings, move)
    return run.run(settings, move, threading.Event(), lambda _moved, _blocks: None, lambda _progress: None)


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_are_found_the_same_way_on_postgresql_13(
    country: Country, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a condition on ranges of blocks would read the whole table each time; this one does not."""
    country.medic.put(*IDS)
    country.was_read_by(shape)
    monkeypatch.setattr(rows, "RANGES_OF_TIDS", 99_00_00)
    monkeypatch.setattr(batches, "FIRST_BLOCKS", 1)
    assert country.run("run").exit_code == 0
    assert country.is_complete()
    with country.medic.installation.connected() as connection, connection.cursor() as cursor:
        cursor.execute("create temporary table old as select 1")
        query = sql.SQL("explain select from old where {}").format(rows.in_blocks(13_00_00))
        cursor.execute(query, {"first": 0, "after": 2})
        assert "Tid Scan" in str(cursor.fetchall())
