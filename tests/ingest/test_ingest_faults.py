"""PostgreSQL goes away and comes back, all connections are busy, the server is asked to stop."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import queue
import secrets
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest
from free_ports import free_port
from ingest_support import (
    READY_TIMEOUT,
    Answer,
    Client,
    Installation,
    install,
    running,
    wait_until,
)

from cht_sync import process
from cht_sync.errors import ServiceError
from cht_sync.ingest import connections
from cht_sync.ingest.server import serve
from cht_sync.runtime.postgres import Postgres
from cht_sync.runtime.service import inherited_environment

RECORDINGS = Path(__file__).parents[3] / "shared" / "contracts" / "postgrest"
DOCS = "/docs?columns=_id,_rev,doc"
ONE = [{"_id": "d1", "_rev": "1-a", "doc": {}}]
MERGE = "resolution=merge-duplicates"
SLEEP_ON_DEMAND = """
CREATE FUNCTION v1.sleep_on_demand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('request.headers')::json ->> 'x-sleep' IS NOT NULL THEN PERFORM pg_sleep(60); END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER sleep_on_demand BEFORE INSERT ON v1.docs FOR EACH STATEMENT
  EXECUTE FUNCTION v1.sleep_on_demand();
"""


def assert_recorded(answer: Answer, name: str) -> None:
    """The status, the error object and its headers are those that the real PostgREST was seen to give."""
    found = list(RECORDINGS.glob(f"*-{name}.json"))
    if not found:
        pytest.skip("the recorded exchanges are not here (shared/contracts/postgrest)")
    expected = json.loads(found[0].read_text())["response"]
    assert answer.status == expected["status"]
    headers = {name.lower(): value for name, value in answer.headers.items()}
    for header in ("Retry-After", "Proxy-Status", "WWW-Authenticate"):
        assert headers.get(header.lower()) == expected["headers"].get(header)
    assert json.loads(answer.body or b"null") == json.loads(expected["body"] or "null")


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
            assert_recorded(client.post(DOCS, ONE), "pool-timeout-504")
        assert {one.result().status for one in busy} == {200, 201}


def test_a_connection_that_breaks_during_a_request_is_a_503(
    server: Client, installation: Installation
) -> None:
    with table_locked(installation), ThreadPoolExecutor() as others:
        running_request = others.submit(server.post, DOCS, ONE)
        wait_until(lambda: waiting(installation) == 1)
        end_connections_of_the_server(installation)
        assert_recorded(running_request.result(), "backend-killed-mid-request")
    wait_until(lambda: server.post(DOCS, ONE, Prefer=MERGE).status == 201)
    assert_recorded(server.post(DOCS, ONE, Prefer=MERGE), "after-backend-killed")


def test_idle_connections_that_died_are_replaced_before_they_are_used(
    server: Client, installation: Installation
) -> None:
    assert server.post(DOCS, ONE).status == 201
    idle = (
        "FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%json_to_recordset%'"
    )
    installation.execute(f"SELECT pg_terminate_backend(pid) {idle}")
    wait_until(lambda: installation.execute(f"SELECT count(*) {idle}") == [(0,)])
    # The real one says 503 57P01 first.
    for number in range(1, 4):
        assert_recorded(server.post(DOCS, ONE, Prefer=MERGE), f"idle-backends-killed-then-post-{number}")


def test_a_time_limit_of_the_role_ends_a_statement(server: Client, installation: Installation) -> None:
    installation.execute(f"ALTER ROLE {installation.ingest_role} SET statement_timeout = '100ms'")
    installation.execute("NOTIFY pgrst, 'reload config'")
    with contextlib.closing(psycopg2.connect(installation.dsn)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE v1.docs IN EXCLUSIVE MODE")
        wait_until(lambda: server.post(DOCS, ONE).code == "57014")
        assert_recorded(server.post(DOCS, ONE), "statement-timeout-57014")


class Cluster:
    """A PostgreSQL that a test starts and stops."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self._log = folder / "log"
        self._service = Postgres(folder / "cluster", port=self.port, user="owner", password=self.password)
        self._service.prepare(lambda _text: None)
        self._running: process.ProcessId | None = None

    def start(self) -> None:
        environment = {**inherited_environment(), **self._service.environment()}
        started = process.start(self._service.command(), log=self._log, env=environment)
        self._running = process.ProcessId.of(started.pid)
        wait_until(self._service.ready)

    def stop(self) -> None:
        if self._running is not None:
            process.stop(self._running, ask=self._service.stop_signal)
            self._running = None


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    cluster.start()
    yield cluster
    cluster.stop()


def test_an_outage_is_answered_as_recorded_and_survived(cluster: Cluster) -> None:
    dsn = f"postgresql://owner:{cluster.password}@127.0.0.1:{cluster.port}/postgres"
    installation = install(dsn, "recovery", "127.0.0.1", cluster.port)
    cluster.stop()
    with running(installation.config) as port, ThreadPoolExecutor() as others:
        client = installation.client(port)

        def post() -> Answer:
            return client.post(DOCS, ONE, Prefer=MERGE)

        for number in range(3):
            assert_recorded(post(), f"started-without-pg-post-{number}")
        assert_recorded(client.get("/"), "started-without-pg-root")
        cluster.start()
        wait_until(lambda: post().status in (200, 201))
        assert_recorded(post(), "started-without-pg-then-back")

        installation.execute(SLEEP_ON_DEMAND)
        waiting_request = others.submit(client.post, DOCS, ONE, X_Sleep="1")
        wait_until(
            lambda: (
                installation.execute("SELECT true FROM pg_stat_activity WHERE wait_event = 'PgSleep'") != []
            )
        )
        cluster.stop()
        assert_recorded(waiting_request.result(), "pg-stop-fast-mid-request")
        wait_until(lambda: post().code == "PGRST002")
        for number in range(6):
            assert_recorded(post(), f"pg-down-post-{number}")
        assert_recorded(post(), "pg-down-post-late")
        assert_recorded(client.get("/docs"), "pg-down-get")
        assert_recorded(client.get("/"), "pg-down-root")
        assert_recorded(client.send("OPTIONS", "/docs"), "pg-down-options")
        assert_recorded(client.send("POST", "/docs", ONE, token="abc"), "pg-down-bad-jwt")
        assert_recorded(client.get("/nothing_like_it"), "pg-down-unknown-table")

        cluster.start()
        wait_until(lambda: post().status in (200, 201))
        assert_recorded(post(), "pg-back-post")
        assert_recorded(post(), "pg-back-post-5s")
        assert installation.execute("SELECT count(*) FROM v1.docs") == [(1,)]


def test_a_request_whose_client_has_gone_is_not_begun(installation: Installation) -> None:
    config = dataclasses.replace(installation.config, pool_size=1, pool_patience=30)
    with running(config) as port, ThreadPoolExecutor() as others:
        client = installation.client(port)
        wait_until(lambda: client.get("/docs").status == 200)
        with table_locked(installation):
            first = others.submit(client.post, DOCS, ONE)
            wait_until(lambda: waiting(installation) == 1)
            with socket.create_connection(("127.0.0.1", port)) as gone:
                body = json.dumps([{"_id": "late", "_rev": "1", "doc": {}}])
                gone.sendall(
                    f"POST {DOCS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
            # Answered by the loop that has seen the end of that connection before.
            assert client.send("OPTIONS", "/docs").status == 200
        assert first.result().status == 201
        assert client.post(DOCS, [{"_id": "next", "_rev": "1", "doc": {}}]).status == 201
    assert installation.execute("SELECT _id FROM v1.docs ORDER BY _id") == [("d1",), ("next",)]


def test_silent_connections_make_room(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 110)
    monkeypatch.setattr(connections, "SILENCE", 0.0)
    with running(installation.config) as port, contextlib.ExitStack() as silent:
        for _ in range(150):
            silent.enter_context(socket.create_connection(("127.0.0.1", port)))
        client = installation.client(port)
        wait_until(lambda: client.get("/docs").status == 200)


def test_a_slow_client_delays_nobody(server: Client, installation: Installation) -> None:
    body = json.dumps(ONE).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(
            f"POST {DOCS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body[:5]
        )
        assert server.post(DOCS, [{"_id": "quick", "_rev": "1", "doc": {}}]).status == 201
        slow.sendall(body[5:])
        assert slow.makefile("rb").readline().startswith(b"HTTP/1.1 201")


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
