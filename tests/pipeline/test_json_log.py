"""The log of a whole engine in JSON: a first load, documents that are refused, an outage, a stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from couchdb_fixture import CouchDBServer
from json_log import entries, events
from postgres_fixture import PostgresServer
from running_pipeline import RunningPipeline
from waiting import eventually
from warehouse.installation import Installation
from warehouse.served import Served, listening

from cht_sync.generator import Client

DOCUMENTS = 3000
REFUSED = 300
IN_JSON = ("--log.format", "json")


@pytest.fixture
def client(couchdb_server: CouchDBServer) -> Iterator[Client]:
    made = couchdb_server.client()
    yield made
    made.close()


@pytest.fixture
def installation(
    postgres_server: PostgresServer, database: str, couchdb_database: str
) -> Iterator[Installation]:
    made = Installation(postgres_server, database)
    made.init(couchdb_database)
    yield made
    made.drop_roles()


def engine(folder: Path, served: Served, couchdb: CouchDBServer, database: str) -> RunningPipeline:
    return RunningPipeline(
        folder,
        served,
        couchdb.port,
        user=couchdb.user,
        password=couchdb.password,
        database=database,
        reconnect_delay=1,
    )


def of(event: str, log: str) -> list[dict[str, Any]]:
    return [one for one in entries(log) if one.get("event") == event]


def test_a_whole_run_with_its_failures_is_a_few_lines_of_json(
    tmp_path: Path,
    installation: Installation,
    couchdb_server: CouchDBServer,
    couchdb_database: str,
    client: Client,
) -> None:
    name = couchdb_database
    installation.query(f"alter table v1.\"{name}\" add constraint no_bad check (doc ->> 'bad' is null)")
    documents = [{"_id": f"d{number:05}", "n": number} for number in range(DOCUMENTS)]
    for one in documents[:REFUSED]:
        one["bad"] = True
    for start in range(0, DOCUMENTS, 500):
        client.write(name, documents[start : start + 500])
    with listening(installation) as served:
        running = engine(tmp_path, served, couchdb_server, name)
        running.start_process(*IN_JSON)
        eventually(lambda: len(running.rows()) == DOCUMENTS - REFUSED and "caught_up" in running.log)
    # The way into PostgreSQL is gone.
    client.write(name, [{"_id": "late"}])
    eventually(lambda: "delivery_failed" in running.log)
    with listening(installation, port=served.port):
        eventually(lambda: "late" in running.rows() and "delivery_recovered" in running.log)
        assert running.end_process() == 0
    log = running.log
    found = entries(log)
    assert len(found) < DOCUMENTS / 10
    assert len(found) < REFUSED / 2

    [begun] = of("reading_started", log)
    assert (begun["database"], begun["source"]) == (name, f"127.0.0.1/{name}")
    assert of("caught_up", log)[0]["documents"] == DOCUMENTS
    split = of("batch_split_ended", log)
    assert sum(one["dead_letters"] for one in split) == REFUSED
    letters = of("dead_letter", log)
    assert sum(one["documents"] for one in letters) == REFUSED
    assert {one["code"] for one in letters if "document_id" in one} == {"23514"}
    [recovered] = of("delivery_recovered", log)
    assert recovered["attempts"] >= 1
    assert recovered["duration_seconds"] > 0
    [stopped] = of("pipeline_stopped", log)
    assert (stopped["documents"], stopped["dead_letters"]) == (DOCUMENTS + 1, REFUSED)
    assert events(log)[-1] == "pipeline_stopped"


def test_the_next_run_says_where_it_goes_on(
    tmp_path: Path,
    installation: Installation,
    couchdb_server: CouchDBServer,
    couchdb_database: str,
    client: Client,
) -> None:
    client.write(couchdb_database, [{"_id": "ada"}])
    with listening(installation) as served:
        running = engine(tmp_path, served, couchdb_server, couchdb_database)
        running.start_process(*IN_JSON)
        eventually(lambda: "caught_up" in running.log)
        assert running.end_process() == 0
        running.start_process(*IN_JSON)
        eventually(lambda: running.log.count("caught_up") == 2)
        assert running.end_process() == 0
    first, second = of("reading_started", running.log)
    assert first["sequence"] == "0"
    assert second["sequence"] != "0"
    assert len(second["sequence"]) <= 23


def test_a_failure_of_the_start_is_one_line_with_its_event(
    tmp_path: Path, installation: Installation, couchdb_server: CouchDBServer, couchdb_database: str
) -> None:
    with listening(installation) as served:
        running = engine(tmp_path, served, couchdb_server, couchdb_database)
        running.config.write_text("input { nonsense { } }")
        running.start_process(*IN_JSON)
        eventually(lambda: "process_failed" in running.log)
        running.kill()
    assert events(running.log) == ["process_failed"]
