"""The loop with a package of 2.x, which takes documents in batches and keeps results of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from postgres_fixture import PostgresServer
from psycopg2.extensions import connection as Connection

from cht_sync.transform.changes import Newest, newest_change

from .generations import VIEW, Generation, generation
from .looping import eventually, looping, query, shown

PERSON = {"type": "person", "name": "Amina"}


@pytest.fixture
def of_2x(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Generation]:
    with generation(postgres_server, tmp_path, "generation_2x", schema="v1", model_table=VIEW) as made:
        yield made


def test_batches_are_taken_until_nothing_is_left_and_then_nothing_is_run(
    of_2x: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = threading.Semaphore(0)

    def look(connection: Connection, raw_schema: str) -> Newest:
        looks.release()
        return newest_change(connection, raw_schema)

    monkeypatch.setattr("cht_sync.transform.follower.newest_change", look)
    documents = of_2x.warehouse
    for number in range(5):
        documents.put(f"alone-{number}", PERSON)
    with documents.connection, documents.connection.cursor() as cursor:
        # More than a batch with one stamp: its models take them again in each run.
        cursor.execute(
            "insert into v1.medic (_id, doc) select 'together-' || n, %s from generate_series(1, 3) as n",
            (json.dumps(PERSON),),
        )

    with looping(replace(of_2x.options, batch_size=2, test_interval=0.0)):
        eventually(lambda: len(of_2x.rows("person")) == 8)
        while looks.acquire(blocking=False):
            pass
        for _ in range(5):
            assert looks.acquire(timeout=60)
        runs = "select count(*) from v1.dbt_runs"
        before = query(documents, runs)
        for _ in range(5):
            assert looks.acquire(timeout=60)
        assert query(documents, runs) == before
    assert shown(documents).result == "success"
    # The package's table of that name is its own.
    assert query(documents, "select count(*) > 12, bool_and(status = 'success') from v1.dbt_results") == [
        (True, True)
    ]
