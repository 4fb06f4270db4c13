"""Loads that begin by themselves, and the service that works at what others begin."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from free_ports import free_port
from monitoring_table import differences
from prometheus_client.parser import text_string_to_metric_families
from reconcile.world import World
from waiting import eventually

from cht_sync.errors import ChtSyncError
from cht_sync.load import auto, run
from cht_sync.load import metrics as load_metrics
from cht_sync.load.ledger import Progress
from cht_sync.load.metrics import Metrics, figures_of
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


def figures(port: int) -> dict[str, float]:
    """Values by name, of series of the database or without labels."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    return {one.name: one.value for family in text_string_to_metric_families(text) for one in family.samples}


@contextmanager
def serving(world: World, port: int) -> Iterator[None]:
    """A serving process, as a thread; its workers are processes."""
    world.changes = {"LOAD_METRICS_PORT": str(port)}
    stop = threading.Event()
    more = {"workers": 1, "chunk_size": 20, "stop": stop}
    thread = threading.Thread(target=auto.serve, args=(world.settings,), kwargs=more)
    thread.start()
    try:
        eventually(lambda: answers(port))
        yield
    finally:
        stop.set()
        thread.join()


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=10).ok
    except requests.ConnectionError:
        return False


def test_a_serving_process_tells_how_far_a_load_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "LOOK_EVERY", 0.05)
    world.put(*IDS)
    port, name = free_port(), "cht_sync_load_"
    with serving(world, port):
        assert f"{name}documents_left" not in figures(port)
        # Who plans holds this row: nobody can plan a chunk.
        run.begin(world.settings, world.database, chunk_size=20, anew=False)
        with world.installation.connected() as connection, connection.cursor() as cursor:
            cursor.execute("select from v1.cht_sync_loads for update")
            found = figures(port)
            assert (found[f"{name}documents_left"], found[f"{name}ended"]) == (60, 0)
            eventually(lambda: figures(port)[f"{name}working"] == 1)
            connection.rollback()
        eventually(lambda: figures(port)[f"{name}ended"] == 1)
        eventually(lambda: figures(port)[f"{name}working"] == 0)
        found = figures(port)
        assert (found[f"{name}documents_loaded"], found[f"{name}documents_left"]) == (60, 0)
        assert (found[f"{name}chunks_planned"], found[f"{name}chunks_done"]) == (3, 3)
        assert (found[f"{name}failures_total"], found[f"{name}postgres_up"]) == (0, 1)
        assert not list(
            differences("load", requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text)
        )
    assert not answers(port)


def test_documents_that_were_deleted_meanwhile_are_not_left_for_ever() -> None:
    begun = Progress(60, 40, 0, 2, 2, all_planned=False, seconds=1.0, ended=False)
    assert figures_of(begun)["documents_left"] == 20
    assert figures_of(dataclasses.replace(begun, all_planned=True))["documents_left"] == 0


def test_without_postgresql_that_is_what_the_metrics_tell(world: World) -> None:
    settings = dataclasses.replace(world.settings, postgres_port=free_port())
    text = Metrics(settings).text().decode()
    assert "cht_sync_load_postgres_up 0.0" in text
    assert "cht_sync_load_documents_left{" not in text


def test_many_who_ask_take_one_connection(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asking, most, one = 0, 0, threading.Event()

    def progress(_connection: object, _settings: object) -> dict[str, Progress]:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        one.wait(0.05)
        asking -= 1
        return {}

    monkeypatch.setattr(load_metrics, "progress_of_all", progress)
    metrics = Metrics(world.settings)
    threads = [threading.Thread(target=metrics.text) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_failure_is_counted_and_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "RETRY", 0.01)
    watched, stop = auto.Watched(world.settings), threading.Event()

    def fails(*_given: object) -> None:
        if watched.health.reasons():
            raise AssertionError("one failure is no reason for alarm")
        raise ChtSyncError("refused")

    def fails_once(*given: object) -> None:
        monkeypatch.setattr(auto, "_load_if_due", lambda *_given: None)
        fails(*given)

    monkeypatch.setattr(auto, "_load_if_due", fails_once)
    auto.load_what_is_large(world.settings, workers=1, chunk_size=20, stop=stop, watched=watched)
    assert b"cht_sync_load_failures_total 1.0" in watched.metrics.text()


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
