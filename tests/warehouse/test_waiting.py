"""Writers that wait in line for each other, through the ingest server: who gives up, who comes too late."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
import requests
from postgres_fixture import PostgresServer
from waiting import eventually

from cht_sync.ingest.config import IngestConfig
from cht_sync.tokens import make_token
from warehouse.installation import Installation, headers, put
from warehouse.served import PATIENCE, SECRET, Served, listening, served

SENTINEL = "medic-sentinel"


@pytest.fixture
def warehouse(postgres_server: PostgresServer, database: str) -> Iterator[Served]:
    with served(postgres_server, database) as one:
        yield one


def request_of(
    warehouse: Served, ids: tuple[str, ...], position: Mapping[str, str]
) -> tuple[str, str, dict[str, str]]:
    """Path, body and headers of a batch as the pipeline sends it."""
    rows = [{"_id": id, "_rev": "1-a", "doc": {}, "_deleted": False} for id in ids]
    headers = {
        "Authorization": f"Bearer {make_token(SECRET, warehouse.role)}",
        "Content-Type": "application/json",
        "Prefer": "resolution=merge-duplicates,return=minimal",
        **position,
    }
    return "/medic?columns=_id,_rev,doc,_deleted", json.dumps(rows), headers


def post(warehouse: Served, *ids: str, position: Mapping[str, str]) -> requests.Response:
    path, body, headers = request_of(warehouse, ids, position)
    return requests.post(warehouse.url + path, data=body, headers=headers, timeout=PATIENCE)


def abandon_in_line(warehouse: Served, *ids: str, position: Mapping[str, str]) -> None:
    """Send a batch, and give it up as soon as it waits for its turn."""
    connection = HTTPConnection("127.0.0.1", warehouse.port, timeout=PATIENCE)
    path, body, headers = request_of(warehouse, ids, position)
    connection.request("POST", path, body, headers)
    eventually(lambda: waiting(warehouse.installation) == 1)
    connection.close()


def await_end(installation: Installation) -> None:
    """Wait until no session is in a transaction."""
    eventually(
        lambda: (
            installation.value(
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null"
            )
            == 0
        )
    )


def waiting(installation: Installation) -> int:
    return int(
        installation.value(
            "select count(*) from pg_stat_activity"
            " where datname = current_database() and wait_event_type = 'Lock'"
        )
    )


def test_a_request_that_its_client_abandoned_in_the_line_is_refused_when_its_turn_comes(
    warehouse: Served,
) -> None:
    installation = warehouse.installation
    with closing(installation.connect()) as newer:
        put(newer, ("a", "2-new", {}), headers=headers(1, 3, seq="9-x"))
        abandon_in_line(warehouse, "a", "b", position=headers(1, 2, seq="5-x"))
        newer.commit()
    await_end(installation)
    assert warehouse.rows() == {"a": "2-new"}
    assert installation.progress() == ("9-x", None, 1, 3)


def test_a_request_that_its_client_abandoned_and_that_is_the_newest_is_stored(warehouse: Served) -> None:
    installation = warehouse.installation
    with closing(installation.connect()) as older:
        put(older, ("a", "1-old", {}), headers=headers(1, 1, seq="1-x"))
        abandon_in_line(warehouse, "a", position=headers(1, 2, seq="5-x"))
        older.commit()
    await_end(installation)
    assert warehouse.rows() == {"a": "1-a"}
    assert installation.progress() == ("5-x", None, 1, 2)


def test_a_request_that_its_client_abandoned_after_another_writer_took_over_is_refused(
    warehouse: Served,
) -> None:
    installation = warehouse.installation
    with closing(installation.connect()) as other:
        put(other, ("x", "1-x", {}), table=SENTINEL)
        abandon_in_line(warehouse, "late", position=headers(1, 9, seq="5-x"))
        # The same transaction lets the new writer in, so that it is before the abandoned one.
        put(other, ("a", "1-new", {}), headers=headers(2, 1, seq="9-x"))
        other.commit()
    await_end(installation)
    answer = post(warehouse, "late", position=headers(1, 10, seq="6-x"))
    assert (answer.status_code, answer.json()["code"]) == (409, "PT409")
    assert warehouse.rows() == {"a": "1-new"}
    assert installation.progress() == ("9-x", None, 2, 1)


def test_who_waits_too_long_is_told_to_come_again_and_others_are_served_meanwhile(
    installed: Installation,
) -> None:
    installation = installed
    installation.query(f"alter role {installation.name}_ingest set lock_timeout = '500ms'")
    writers = 6
    with (
        listening(installation) as warehouse,
        closing(installation.connect()) as holder,
        ThreadPoolExecutor(writers) as pool,
    ):
        put(holder, ("x", "1-x", {}), table=SENTINEL)
        answers = [
            pool.submit(post, warehouse, f"{number}", position=headers(1, number + 1))
            for number in range(writers)
        ]
        eventually(lambda: waiting(installation) == writers or any(one.done() for one in answers))
        shown = requests.get(
            f"{warehouse.url}/couchdb_progress",
            headers={"Authorization": f"Bearer {make_token(SECRET, warehouse.role)}"},
            timeout=PATIENCE,
        )
        assert shown.status_code == 200
        refused = [one.result() for one in answers]
        assert {(one.status_code, one.json()["code"]) for one in refused} == {(500, "55P03")}
        holder.rollback()
        assert warehouse.rows() == {}
        assert post(warehouse, "a", position=headers(1, 99)).ok


@pytest.mark.parametrize("role", ["authenticator", "ingest"])
def test_a_writer_gives_up_waiting_before_who_waits_for_its_connection_does(
    warehouse: Served, role: str
) -> None:
    (setting,) = warehouse.installation.value(
        "select rolconfig from pg_roles where rolname = %s", f"{warehouse.installation.name}_{role}"
    )
    name, _, seconds = setting.removesuffix("s").partition("=")
    # A row's lock is waited for in two steps.
    assert name == "lock_timeout"
    assert 2 * int(seconds) < IngestConfig(db_uri="", schemas=()).pool_patience


def test_writers_of_all_databases_and_a_script_that_runs_again_and_again_do_not_hurt_each_other(
    warehouse: Served,
) -> None:
    installation = warehouse.installation
    stop = threading.Event()
    written: dict[str, int] = {}
    problems: list[Any] = []

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            answer = post(warehouse, f"{number}", position=headers(1, number, seq=f"{number}-x"))
            if not answer.ok:
                problems.append(answer.text)
                return
            written["medic"] = number

    def write_directly() -> None:
        number = 0
        with closing(installation.connect()) as connection:
            while not stop.is_set():
                number += 1
                with connection:
                    put(connection, (f"{number}", "1-a", {}), table=SENTINEL)
                written[SENTINEL] = number

    writers = [threading.Thread(target=target, daemon=True) for target in (write, write_directly)]
    for thread in writers:
        thread.start()
    eventually(lambda: len(written) == 2)
    with ThreadPoolExecutor(3) as pool:
        wanted = ["medic medic-sentinel", "medic medic-sentinel third", "medic"]
        for run in [pool.submit(installation.init, databases) for databases in wanted * 2]:
            run.result()
    stop.set()
    for thread in writers:
        thread.join(PATIENCE)
    assert not problems
    for table, count in written.items():
        assert installation.value(f'select count(*) from v1."{table}"') == count
    assert installation.progress()[0] == f"{written['medic']}-x"
