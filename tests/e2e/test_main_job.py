"""The main job, with the commands that an operator types: CouchDB to tables that dashboards read."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import requests
from whole_installation import Installation, living, wait_for

from cht_sync.process import ProcessId

SHARED_DOCUMENTS = Path(__file__).parents[3] / "shared" / "data" / "cht_docs.ndjson.gz"
UP = ("up", "--env", "local", "--runtime", "embedded", "--detach", "--without", "superset")


def test_everything_reaches_the_tables_and_goes_on_after_a_restart(installation: Installation) -> None:
    screen = installation.run(*UP, "--without", "data-generator").stdout
    assert "cht-sync local is running" in screen
    assert installation.settings.postgres_password not in screen
    installation.run("generate", "--docs", "2000", "--updates", "0.2", "--deletes", "0.05")

    for database in ("medic", "medic-sentinel"):
        installation.wait_until_same(database)
        winners = installation.winners(database)
        assert sum(deleted for _revision, deleted, _doc in winners.values()) == 100
        _models_hold_exactly(installation, database, winners)
    _status_is_in_shape(installation)

    stamps = installation.sql("select max(saved_timestamp), count(*) from v1.all_documents")
    positions = installation.sql("select source, seq, epoch from v1.couchdb_progress order by source")
    installation.run("down")
    assert installation.processes() == []
    assert installation.run("status", "--json", check=False).returncode == 1

    installation.run(*UP, "--without", "data-generator")
    assert installation.sql("select max(saved_timestamp), count(*) from v1.all_documents") == stamps
    again = installation.sql("select source, seq, epoch from v1.couchdb_progress order by source")
    assert [row[:2] for row in again] == [row[:2] for row in positions]
    assert all(later[2] > earlier[2] for earlier, later in zip(positions, again, strict=True))
    installation.couchdb("PUT", "medic/ada", json={"type": "person", "name": "Ada"})
    installation.wait_until_same("medic")
    wait_for(
        lambda: installation.sql("select name from dbt.person where uuid = 'ada'") == [("Ada",)], "Ada in dbt"
    )


def test_a_postgres_that_was_emptied_is_filled_from_the_start(installation: Installation) -> None:
    without = ("--without", "data-generator", "--without", "dbt")
    installation.run(*UP, *without)
    installation.run("generate", "--docs", "200")
    installation.wait_until_same("medic")
    data = installation.settings.data_folder
    installation.run("down")
    assert (data / "logstash" / "data" / "medic.seq").exists()
    shutil.rmtree(data / "postgres")
    installation.run(*UP, *without)
    installation.wait_until_same("medic")
    assert installation.sql("select count(*) = 200 from v1.medic") == [(True,)]


def test_a_second_up_waits_for_the_first_and_down_finds_both(installation: Installation) -> None:
    without = ("--without", "data-generator", "--without", "dbt")
    first, second = (installation.start(*UP, *without) for _ in range(2))
    outputs = [one.communicate(timeout=200)[0] for one in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert sum("was started already" in output for output in outputs) == 1
    assert all("cht-sync local is running" in output for output in outputs)
    assert installation.run("down").stdout.startswith("Stopped 4 services")
    assert installation.processes() == []


def test_up_returns_when_generated_documents_are_in_the_models(installation: Installation) -> None:
    screen = installation.run(*UP).stdout
    _the_commands_on_the_screen_work(installation, screen)
    assert installation.sql("select count(*) > 0 from dbt.data_record") == [(True,)]
    assert installation.sql("select count(*) > 0 from dbt.person") == [(True,)]
    again = installation.run(*UP)
    assert "was started already" in again.stdout


def test_what_a_killed_supervisor_leaves_is_found_and_stopped(installation: Installation) -> None:
    installation.run(*UP, "--without", "data-generator", "--without", "dbt")
    before = installation.state
    os.kill(before.supervisor_pid, signal.SIGKILL)
    wait_for(lambda: before.supervisor.find() is None, "the supervisor to be gone")
    assert len(before.leftovers()) == 4

    installation.run(*UP, "--without", "data-generator", "--without", "dbt")
    assert before.leftovers() == []
    installation.run("down")
    assert installation.processes() == []


def test_an_engine_killed_during_a_load_loses_nothing(installation: Installation) -> None:
    installation.run(*UP, "--without", "data-generator", "--without", "dbt")
    documents = [{"_id": f"d{number:05}", "type": "person", "n": 0} for number in range(4000)]
    for start in range(0, len(documents), 1000):
        installation.couchdb("POST", "medic/_bulk_docs", json={"docs": documents[start : start + 1000]})
        _kill_and_await_successor(installation, "logstash")
        current = installation.couchdb("GET", f'medic/_all_docs?startkey="d{start:05}"&limit=300')["rows"]
        edits = [
            {
                "_id": row["id"],
                "_rev": row["value"]["rev"],
                "type": "person",
                "n": 1,
                "_deleted": number % 3 == 0,
            }
            for number, row in enumerate(current)
        ]
        installation.couchdb("POST", "medic/_bulk_docs", json={"docs": edits})
    installation.wait_until_same("medic")
    assert installation.sql("select count(*) from v1.dead_letters") == [(0,)]
    assert installation.sql("select count(distinct _id), count(*) from v1.medic") == [(4000, 4000)]


def test_a_killed_postgrest_postgres_or_couchdb_comes_back_and_nothing_is_lost(
    installation: Installation,
) -> None:
    installation.run(*UP, "--without", "data-generator", "--without", "dbt")
    for service in ("postgrest", "postgres", "couchdb"):
        documents = [{"_id": f"{service}{number:04}", "type": "person"} for number in range(1500)]
        installation.couchdb("POST", "medic/_bulk_docs", json={"docs": documents})
        _kill_and_await_successor(installation, service)
        wait_for(
            lambda: {one.state for one in installation.state.services} == {"running"},
            "everything to run again",
            installation.logs,
        )
        installation.couchdb("PUT", f"medic/after-{service}", json={"type": "person"})
        installation.wait_until_same("medic")
    assert installation.sql("select count(*) from v1.dead_letters") == [(0,)]


@pytest.mark.skipif(
    not SHARED_DOCUMENTS.exists(), reason="needs the CHT project's test data beside the checkout"
)
def test_the_cht_projects_own_documents_arrive_unchanged(installation: Installation) -> None:
    installation.run(*UP, "--without", "data-generator")
    with gzip.open(SHARED_DOCUMENTS, "rt") as lines:
        documents = [json.loads(line) for line in lines]
    assert len(documents) == 10_462
    for start in range(0, len(documents), 1000):
        installation.couchdb("POST", "medic/_bulk_docs", json={"docs": documents[start : start + 1000]})
    installation.wait_until_same("medic")
    winners = installation.winners("medic")
    assert len(winners) == len(documents)
    _models_hold_exactly(installation, "medic", winners)


def _the_commands_on_the_screen_work(installation: Installation, screen: str) -> None:
    (psql,) = [line for line in screen.splitlines() if "PGPASSFILE" in line]
    (curl,) = [line for line in screen.splitlines() if "curl" in line]
    said = [
        subprocess.run(
            line, shell=True, cwd=installation.home, capture_output=True, text=True, check=True
        ).stdout
        for line in (psql, curl)
    ]
    assert "health_center" in said[0]
    assert '"ok":true' in said[1]
    assert installation.couchdb("GET", "medic/ada")["name"] == "Ada"


def _models_hold_exactly(installation: Installation, database: str, winners: dict) -> None:
    source = installation.settings.source(database)
    for model, kinds in (("person", ["person"]), ("data_record", ["data_record"])):
        expected = living(winners, kinds)
        query = f"select uuid from dbt.{model} where source = %s"
        wait_for(
            lambda query=query, expected=expected: (
                {row[0] for row in installation.sql(query, source)} == expected
            ),
            f"{len(expected)} rows of {model}",
            installation.logs,
        )


def _status_is_in_shape(installation: Installation) -> None:
    found = installation.status()
    assert (found["environment"], found["runtime"]) == ("local", "embedded")
    assert {one["state"] for one in found["services"]} == {"running"}
    assert {"name", "state", "port", "since"} <= set(found["services"][0])
    (medic, _sentinel) = found["databases"]
    assert (medic["name"], medic["rows"], medic["pending"], medic["dead_letters"]) == ("medic", 1900, 0, 0)
    assert medic["documents"] == medic["rows"]
    assert {"seconds_behind", "documents_per_second"} <= set(medic)
    assert found["dbt"]["result"] == "success"
    assert found["dbt"]["failed"] == []
    (port,) = (one["port"] for one in found["services"] if one["name"] == "logstash")
    monitoring = f"http://127.0.0.1:{port}"
    assert requests.get(f"{monitoring}/readyz", timeout=10).json() == {"ready": True, "reasons": []}
    pipelines = requests.get(f"{monitoring}/_node/stats/pipelines", timeout=10).json()["pipelines"]
    assert sorted(pipelines) == ["medic", "medic-sentinel"]
    assert all(one["events"]["out"] >= 2000 and not one["cht_sync"]["pending"] for one in pipelines.values())


def _kill_and_await_successor(installation: Installation, service: str) -> None:
    killed = ProcessId.of(installation.process_id(service))
    os.kill(killed.pid, signal.SIGKILL)
    wait_for(lambda: installation.process_id(service) != killed.pid, f"a new {service}", installation.logs)
