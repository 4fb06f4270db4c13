"""PostgreSQL goes away and comes back, all connections are busy, the server is asked to stop."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest
from ingest_support import READY_TIMEOUT, Client, Installation, free_port, install, running, wait_until

from cht_sync import process
from cht_sync.errors import ServiceError
from cht_sync.ingest.server import serve
from cht_sync.runtime.postgres import Postgres
from cht_sync.runtime.service import inherited_environment

DOCS = "/docs?columns=_id,_rev,doc"
ONE = [{"_id": "d1", "_rev": "1-a", "doc": {}}]
MERGE = "resolution=merge-duplicates"


@contextlib.contextmanager
def table_locked(installation: Installation) -> Iterator[None]:
    """Writers of v1.docs wait as long as this lasts."""
    installation.execute(f"ALTER ROLE {installation.ingest_role} RESET lock_timeout")
    with contextlib.closing(psycopg2.connect(installation.dsn)) as holder:
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLE v1.docs IN EXCLUSIVE MODE")
        yield


def waiting(installation: Installation) -> int:
    [(count,)] = installation.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return int(count)


def end_connections_of_the_server(installation: Installation) -> None:
    installation.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'cht-sync ingest'"
    )


def test_a_full_pool_is_a_504(installation: Installation) -> None:
    config = dataclasses.replace(installation.config, pool_size=2, pool_patience=0.2)
    with running(config) as port, ThreadPoolExecutor() as others:
        client = installation.client(port)
        wait_until(lambda: client.get("/").status == 200)
        with table_locked(installation):
            busy = [others.submit(client.post, DOCS, ONE, Prefer=MERGE) for _ in range(2)]
            wait_until(lambda: waiting(installation) == 2)
            answer = client.post(DOCS, ONE)
            assert (answer.status, answer.code) == (504, "PGRST003")
        assert {one.result().status for one in busy} == {200, 201}


def test_a_connection_that_breaks_during_a_request_is_a_503(
    server: Client, installation: Installation
) -> None:
    with table_locked(installation), ThreadPoolExecutor() as others:
        running_request = others.submit(server.post, DOCS, ONE)
        wait_until(lambda: waiting(installation) == 1)
        end_connections_of_the_server(installation)
        answer = running_request.result()
    assert (answer.status, answer.code) == (503, "PGRST001")
    assert answer.headers["Retry-After"] == "0"
    wait_until(lambda: server.post(DOCS, ONE, Prefer=MERGE).status == 201)


def test_idle_connections_that_died_are_replaced(server: Client, installation: Installation) -> None:
    assert server.post(DOCS, ONE).status == 201
    installation.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%json_to_recordset%'"
    )
    assert server.post(DOCS, ONE, Prefer=MERGE).status == 200


def test_the_server_recovers_when_postgres_comes_back(tmp_path: Path) -> None:
    port = free_port()
    password = secrets.token_hex(8)
    postgres = Postgres(tmp_path / "cluster", port=port, user="owner", password=password)
    postgres.prepare(lambda _text: None)

    def start() -> process.ProcessId:
        environment = {**inherited_environment(), **postgres.environment()}
        return process.ProcessId.of(
            process.start(postgres.command(), log=tmp_path / "log", env=environment).pid
        )

    cluster = start()
    try:
        wait_until(postgres.ready)
        dsn = f"postgresql://owner:{password}@127.0.0.1:{port}/postgres"
        installation = install(dsn, "recovery", "127.0.0.1", port)
        with running(installation.config) as ingest_port:
            client = installation.client(ingest_port)
            wait_until(lambda: client.post(DOCS, ONE, Prefer=MERGE).status == 201)
            process.stop(cluster, ask=postgres.stop_signal)
            wait_until(lambda: client.post(DOCS, ONE, Prefer=MERGE).status == 503)
            answers = [client.post(DOCS, ONE), client.get("/docs"), client.get("/")]
            assert {(one.status, one.code) for one in answers} == {(503, "PGRST002")}
            assert client.send("GET", "/docs", token="abc").status == 401
            cluster = start()
            wait_until(lambda: client.post(DOCS, ONE, Prefer=MERGE).status == 200)
    finally:
        process.stop(cluster, ask=postgres.stop_signal)


def test_a_server_started_before_postgres_answers_503(installation: Installation) -> None:
    config = dataclasses.replace(
        installation.config, db_uri=f"postgresql://x:y@127.0.0.1:{free_port()}/nothing"
    )
    with running(config) as port:
        answer = installation.client(port).post(DOCS, ONE)
        assert (answer.status, answer.code) == (503, "PGRST002")


def test_a_running_request_is_answered_before_the_server_stops(installation: Installation) -> None:
    stop = threading.Event()
    ports: queue.Queue[int] = queue.Queue()
    server = threading.Thread(target=serve, args=(installation.config, stop, ports.put), daemon=True)
    server.start()
    client = installation.client(ports.get(timeout=READY_TIMEOUT))
    wait_until(lambda: client.get("/").status == 200)
    with ThreadPoolExecutor() as others:
        with table_locked(installation):
            last = others.submit(client.post, DOCS, ONE)
            wait_until(lambda: waiting(installation) == 1)
            stop.set()
        assert last.result().status == 201
    server.join(READY_TIMEOUT)
    assert not server.is_alive()
    with pytest.raises(ConnectionRefusedError):
        client.get("/")


def test_a_port_that_is_taken_is_named(installation: Installation, server: Client) -> None:
    config = dataclasses.replace(installation.config, port=server.port)
    with pytest.raises(ServiceError, match=str(server.port)):
        serve(config, threading.Event())
