"""Loads that begin by themselves, and the service that works at what others begin."""

from __future__ import annotations

import dataclasses
import threading

from reconcile.world import World
from waiting import eventually

from cht_sync.load import auto, run
from cht_sync.reconcile.row import RowMaker
from cht_sync.reconcile.state import State

IDS = [f"{number:04x}" for number in range(60)]


def load_what_is_large(world: World) -> None:
    auto.load_what_is_large(world.settings, workers=1, chunk_size=20, stop=threading.Event())


def loads(world: World) -> list[tuple[object, ...]]:
    return world.installation.query(
        "select expected, ended_at is not null from v1.cht_sync_loads where database = %s", world.database
    )


def test_a_large_database_with_an_empty_table_is_loaded(world: World) -> None:
    world.changes = {"LOAD_FROM_DOCUMENTS": "60"}
    world.put(*IDS)
    load_what_is_large(world)
    assert loads(world) == [(60, True)]
    assert world.rows() == world.winners()


def test_a_small_one_is_left_to_the_pipeline(world: World) -> None:
    world.changes = {"LOAD_FROM_DOCUMENTS": "61"}
    world.put(*IDS)
    load_what_is_large(world)
    assert loads(world) == []


def test_one_that_the_pipeline_has_brought_is_not_read_again(world: World) -> None:
    world.changes = {"LOAD_FROM_DOCUMENTS": "60"}
    world.put(*IDS)
    world.load()
    load_what_is_large(world)
    assert loads(world) == []


def test_none_is_loaded_where_that_is_switched_off_or_only_new_documents_are_wanted(world: World) -> None:
    world.put(*IDS)
    for changes in ({"LOAD_FROM_DOCUMENTS": "0"}, {"LOAD_FROM_DOCUMENTS": "1", "COUCHDB_SEQ": "now"}):
        world.changes = changes
        load_what_is_large(world)
        assert loads(world) == []


def test_a_load_that_was_left_is_finished_however_small(world: World) -> None:
    world.put(*IDS)
    run.begin(world.settings, world.database, chunk_size=20, anew=False)
    load_what_is_large(world)
    assert loads(world) == [(60, True)]


def test_a_server_that_is_away_is_waited_for(world: World, couchdb_server: object) -> None:
    world.changes = {"LOAD_FROM_DOCUMENTS": "60"}
    world.put(*IDS)
    node = couchdb_server.node  # type: ignore[attr-defined]
    node.stop()
    waiting = threading.Thread(target=load_what_is_large, args=(world,), daemon=True)
    try:
        waiting.start()
    finally:
        node.start()
    eventually(lambda: loads(world) == [(60, True)])
    waiting.join()
    assert world.rows() == world.winners()


def test_a_serving_process_works_at_a_load_that_somebody_begins(world: World) -> None:
    world.put(*IDS)
    stop = threading.Event()
    look_every, auto.LOOK_EVERY = auto.LOOK_EVERY, 0.05
    serving = threading.Thread(
        target=auto.serve, args=(world.settings,), kwargs={"workers": 1, "chunk_size": 20, "stop": stop}
    )
    serving.start()
    try:
        run.begin(world.settings, world.database, chunk_size=20, anew=False)
        eventually(lambda: loads(world) == [(60, True)])
    finally:
        stop.set()
        serving.join()
        auto.LOOK_EVERY = look_every
    assert world.rows() == world.winners()


def test_rows_are_made_without_the_secret_that_signs_tokens(world: World) -> None:
    """The container that loads does not have it."""
    maker = RowMaker(dataclasses.replace(world.settings, pgrst_jwt_secret=""), world.database)
    made = maker.first_try("a", State("1-a", False), b'{"_id":"a","_rev":"1-a"}')
    assert made is not None
    assert made.document_id == "a"


def test_a_database_that_is_not_there_keeps_no_other_from_being_loaded(world: World) -> None:
    world.changes = {"COUCHDB_DBS": f"not-there {world.database}", "LOAD_FROM_DOCUMENTS": "60"}
    world.put(*IDS)
    stop = threading.Event()
    loading = threading.Thread(
        target=auto.load_what_is_large,
        args=(world.settings,),
        kwargs={"workers": 1, "chunk_size": 20, "stop": stop},
    )
    loading.start()
    try:
        eventually(lambda: loads(world) == [(60, True)])
    finally:
        stop.set()
        loading.join()
