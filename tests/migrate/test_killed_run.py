"""`cht-sync migrate run` with 50,000 documents, killed again and again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres_fixture import PostgresServer, fresh_database
from reconcile.world import Place, World
from waiting import eventually
from warehouse.served import served

from cht_sync import process
from cht_sync.cli.group import INTERRUPTED
from cht_sync.runtime.service import inherited_environment
from migrate.country import Country, Winners, country_of

DOCUMENTS = (48_000, 1_500, 500)
"""Of medic, medic-sentinel and medic-users-meta."""
DELETED = 100
NAME = "test_moved"
AT_ONCE = 2_000
KILL_AFTER = (1, 5_000, 15_000)
"""Rows that are moved when the process is killed, at least."""


@pytest.fixture(scope="module")
def documents(
    couchdb_server: Any, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Winners]]:
    """Fill CouchDB once for all of the tests here, which do not change it; give what it holds."""
    client = couchdb_server.client()
    place = Place(couchdb_server.host, couchdb_server.port, couchdb_server.user, couchdb_server.password)
    names = (NAME, f"{NAME}-sentinel", f"{NAME}-users-meta")
    known = {}
    for name, count in zip(names, DOCUMENTS, strict=True):
        client.create_database(name)
        world = World(place, None, name, tmp_path_factory.mktemp("home"))  # type: ignore[arg-type]
        for start in range(0, count, AT_ONCE):
            rows = [
                {
                    "_id": f"{name[-8:]}-{number:06}",
                    "type": "data_record",
                    "form": "pregnancy",
                    "reported_date": 1_700_000_000_000 + number,
                    "fields": {"note": f"report {number} " * 8},
                }
                for number in range(start, min(start + AT_ONCE, count))
            ]
            world.ask("POST", "/_bulk_docs", json={"docs": rows})
        world.delete(*[f"{name[-8:]}-{number:06}" for number in range(0, count, count // DELETED)])
        known[name] = world.winners()
    yield known
    for name in names:
        client.delete_database(name)
    client.close()


@pytest.fixture(params=["couch2pg", "cht_sync_2", "of_2023"])
def moved(
    request: pytest.FixtureRequest,
    documents: dict[str, Winners],
    postgres_server: PostgresServer,
    couchdb_server: Any,
    tmp_path: Path,
) -> Iterator[Country]:
    """50,000 documents as each of the earlier programs has stored them."""
    with fresh_database(postgres_server) as name, served(postgres_server, name) as one:
        place = Place(couchdb_server.host, couchdb_server.port, couchdb_server.user, couchdb_server.password)
        country = country_of(one, place, NAME, tmp_path)
        country.known = documents
        country.was_read_by(request.param)
        yield country
        one.installation.drop_roles()


def start(country: Country) -> subprocess.Popen[bytes]:
    """`cht-sync migrate run` as an operator starts it."""
    return process.start(
        [sys.executable, "-m", "cht_sync", "migrate", "run", "--env", "gamma"],
        log=country.medic.home / "run.log",
        env={**inherited_environment(), **country.medic.environment()},
    )


def rows_moved(country: Country) -> int:
    return int(country.query("select coalesce(sum(moved), 0) from v1.cht_sync_migrations")[0][0])


def test_a_run_that_is_killed_goes_on_where_it_was_and_a_second_one_changes_nothing(moved: Country) -> None:
    before = moved.old_state()
    for least in KILL_AFTER:
        running = start(moved)
        eventually(lambda: rows_moved(moved) >= least or running.poll() is not None)  # noqa: B023
        running.send_signal(signal.SIGKILL)
        running.wait(60)
        assert running.returncode in (-signal.SIGKILL, 0)
    reached = rows_moved(moved)
    running = start(moved)
    assert running.wait(300) == 0, (moved.medic.home / "run.log").read_text()
    assert reached <= rows_moved(moved) <= sum(DOCUMENTS)
    assert moved.is_complete()
    assert moved.old_state() == before
    versions = moved.versions()
    assert start(moved).wait(60) == 0
    assert moved.versions() == versions
    result = moved.run("check")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("moved", ["couch2pg"], indirect=True)
def test_a_run_that_is_interrupted_says_how_to_go_on(moved: Country) -> None:
    running = start(moved)
    eventually(lambda: rows_moved(moved) > 0)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == INTERRUPTED
    said = (moved.medic.home / "run.log").read_text()
    assert "rows moved so far" in said
    assert "Go on: cht-sync migrate run --env gamma" in said
    assert "Traceback" not in said
    assert start(moved).wait(300) == 0
    assert moved.is_complete()


@pytest.mark.parametrize("moved", ["cht_sync_2"], indirect=True)
def test_a_run_whose_connections_are_cut_goes_on_by_itself(moved: Country) -> None:
    running = start(moved)
    for least in KILL_AFTER:
        eventually(lambda: rows_moved(moved) >= least or running.poll() is not None)  # noqa: B023
        moved.query(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'cht-sync' "
            "and datname = current_database()"
        )
    assert running.wait(300) == 0, (moved.medic.home / "run.log").read_text()
    assert moved.is_complete()
