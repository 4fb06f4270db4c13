"""Steady mode goes on where the last run ended, and outlives an absence of the server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from couchdb_fixture import CouchDBProcess, CouchDBServer

from cht_sync.errors import LoginRefused, SettingsError
from cht_sync.generator import Client, GeneratorOptions, Kind, Summary, burst, plan, steady
from cht_sync.generator.steady import STATE, Reached, restore

FAST = GeneratorOptions(docs=200, rate=400, seed=5, updates=0.3, deletes=0.1)


def created_ids(count: int, seed: int = 5) -> list[str]:
    changes = plan(GeneratorOptions(docs=count, seed=seed, updates=0, deletes=0))
    return [change.document_id for change in changes if change.kind is Kind.CREATE]


def run_until(client: Client, database: str, options: GeneratorOptions, changes: int) -> Summary:
    """Run in this thread until so many changes were written."""
    stop = threading.Event()
    done = 0

    def count(number: int) -> None:
        nonlocal done
        done += number
        if done >= changes:
            stop.set()

    return steady(client, database, options, stop, count)


def test_new_documents_edits_and_deletions_are_mixed(
    couchdb_server: CouchDBServer, couchdb_database: str
) -> None:
    client = couchdb_server.client()
    burst(client, couchdb_database, FAST, lambda _changes: None)
    summary = run_until(client, couchdb_database, FAST, 300)
    assert min(summary.created, summary.updated, summary.deleted) > 0
    assert summary.created + summary.updated + summary.deleted >= 300
    assert summary.skipped == 0
    assert len(client.states(couchdb_database, created_ids(1000))) == 200 + summary.created


def test_a_second_run_goes_on_where_the_first_ended(
    couchdb_server: CouchDBServer, couchdb_database: str
) -> None:
    client = couchdb_server.client()
    first = run_until(client, couchdb_database, FAST, 100)
    reached = restore(client, couchdb_database, FAST.origin)
    assert reached.created == first.created
    second = run_until(client, couchdb_database, FAST, 100)
    assert second.skipped == 0
    assert len(client.states(couchdb_database, created_ids(1000))) == first.created + second.created


@pytest.mark.parametrize("docs", [0, 1, 2, 3, 64, 200])
def test_without_a_saved_state_the_first_free_document_is_found(
    couchdb_server: CouchDBServer, couchdb_database: str, docs: int
) -> None:
    client = couchdb_server.client()
    burst(client, couchdb_database, GeneratorOptions(docs=docs, seed=5), lambda _changes: None)
    assert restore(client, couchdb_database, FAST.origin) == Reached(docs, 0)


def test_a_state_older_than_the_documents_is_moved_on(
    couchdb_server: CouchDBServer, couchdb_database: str
) -> None:
    client = couchdb_server.client()
    client.write_local(couchdb_database, STATE, {"seed": 5, "created": 20, "steps": 33})
    burst(client, couchdb_database, GeneratorOptions(docs=77, seed=5), lambda _changes: None)
    assert restore(client, couchdb_database, FAST.origin) == Reached(77, 33)


def test_the_state_of_another_seed_is_not_used(couchdb_server: CouchDBServer, couchdb_database: str) -> None:
    client = couchdb_server.client()
    client.write_local(couchdb_database, STATE, {"seed": 6, "created": 20, "steps": 33})
    assert restore(client, couchdb_database, FAST.origin) == Reached(0, 0)


def test_a_refused_login_is_not_tried_again(couchdb_server: CouchDBServer, couchdb_database: str) -> None:
    client = Client(couchdb_server.url, couchdb_server.user, "wrong")
    with pytest.raises(LoginRefused):
        steady(client, couchdb_database, FAST, threading.Event())


def test_steady_mode_needs_a_rate(couchdb_server: CouchDBServer, couchdb_database: str) -> None:
    with pytest.raises(SettingsError, match="rate"):
        steady(couchdb_server.client(), couchdb_database, GeneratorOptions(), threading.Event())


@contextmanager
def in_background(work: Callable[[threading.Event], None]) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_server_that_goes_and_comes_back_is_waited_for(tmp_path: Path) -> None:
    node = CouchDBProcess(tmp_path, user="medic", password="secret")
    node.start()
    client = Client(f"http://127.0.0.1:{node.port}", "medic", "secret")
    client.create_database("medic")
    summaries: list[Summary] = []
    written = threading.Semaphore(0)

    def work(stop: threading.Event) -> None:
        own = Client(f"http://127.0.0.1:{node.port}", "medic", "secret")
        options = GeneratorOptions(rate=50, seed=5, updates=0, deletes=0)
        summaries.append(steady(own, "medic", options, stop, lambda _changes: written.release()))

    with in_background(work):
        assert written.acquire(timeout=30)
        assert node.stop() == 0
        while written.acquire(blocking=False):
            pass
        node.start()
        assert written.acquire(timeout=60)
    try:
        assert len(client.states("medic", created_ids(3000))) >= summaries[0].created > 0
    finally:
        node.stop()
