"""How fast the embedded ingest writes, what it costs, and how much memory it holds.

    python bench/ingest.py [--rounds N]

Starts the wheel's PostgreSQL in a temporary folder and `cht-sync ingest serve` in a process of its own.
Posts one document of 1.2 KB after another, then batches of 1 MB by several writers, then single
documents of 20 and 76 MB, all with ?columns=. Milliseconds are the server's own processor time, which
other work on the machine disturbs least; memory is its resident set at the highest and afterwards
(Linux only). Nothing passes or fails.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import psycopg2

from cht_sync import process
from cht_sync.runtime.postgres import Postgres
from cht_sync.runtime.service import inherited_environment
from cht_sync.tokens import make_token

MEGABYTE = 1_000_000
PATH = "/docs?columns=_id,_rev,doc"
SCHEMA = """
    create role bench_ingest nologin;
    create role bench_authenticator noinherit login password 'bench';
    grant bench_ingest to bench_authenticator;
    create schema v1;
    create table v1.docs (_id text collate "C" primary key, _rev text, doc jsonb);
    grant usage on schema v1 to bench_ingest;
    grant select, insert, update on v1.docs to bench_ingest;
"""


class Server:
    """The ingest server in a process of its own."""

    def __init__(self, port: int, pid: int, token: str) -> None:
        self._port = port
        self._process = psutil.Process(pid)
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Prefer": "resolution=merge-duplicates",
        }

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)

    def post(self, connection: http.client.HTTPConnection, body: bytes) -> int:
        connection.request("POST", PATH, body, self._headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def store(self, connection: http.client.HTTPConnection, body: bytes) -> None:
        status = self.post(connection, body)
        if status not in (200, 201):
            raise SystemExit(f"not stored: {status}")

    @property
    def seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    @property
    def resident(self) -> float:
        return float(self._process.memory_info().rss) / MEGABYTE

    @property
    def highest(self) -> float:
        """Since the last `forget_highest`."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        [line] = [one for one in status.splitlines() if one.startswith("VmHWM")]
        return int(line.split()[1]) * 1024 / MEGABYTE

    def forget_highest(self) -> None:
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with served() as server:
        print(f"at rest: {server.resident:.0f} MB")
        for _ in range(rounds):
            one_after_another(server)
        for writers in (1, 4, 8):
            batches(server, writers)
        for size in (20, 76):
            large(server, size)


def one_after_another(server: Server) -> None:
    bodies = [json.dumps([document(number)]).encode() for number in range(1_000)]
    connection = server.connect()
    begun, used = time.perf_counter(), server.seconds
    for body in bodies:
        server.store(connection, body)
    took, used = time.perf_counter() - begun, server.seconds - used
    print(f"1,000 POSTs of 1.2 KB: {1_000 / took:.0f}/s, {used:.2f} ms each")


def batches(server: Server, writers: int) -> None:
    def write(writer: int) -> None:
        connection = server.connect()
        for number in range(40):
            first = (writer * 40 + number) * 900
            body = json.dumps([document(first + one) for one in range(900)]).encode()
            server.store(connection, body)

    server.forget_highest()
    begun, used = time.perf_counter(), server.seconds
    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    took, used = time.perf_counter() - begun, server.seconds - used
    print(
        f"batches of 1 MB, {writers} writers: {writers * 40 * 900 / took:.0f} rows/s,"
        f" {used * 25 / writers:.1f} ms a batch, {server.highest:.0f} MB, then {server.resident:.0f} MB"
    )


def large(server: Server, megabytes: int) -> None:
    body = b'[{"_id":"large","_rev":"1","doc":{"text":"%b"}}]' % (b"x" * (megabytes * MEGABYTE))
    server.forget_highest()
    begun = time.perf_counter()
    server.store(server.connect(), body)
    print(
        f"a document of {megabytes} MB: {time.perf_counter() - begun:.1f} s,"
        f" {server.highest:.0f} MB, then {server.resident:.0f} MB"
    )


def document(number: int) -> dict[str, object]:
    return {"_id": f"d{number:08}", "_rev": "1-a", "doc": {"n": number, "text": "x" * 1_100}}


@contextmanager
def served() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as temporary, cluster(Path(temporary)) as address:
        secret, port = secrets.token_hex(32), free_port()
        started = process.start(
            [sys.executable, "-m", "cht_sync", "ingest", "serve"],
            log=Path(temporary) / "ingest.log",
            env={
                **os.environ,
                "PGRST_DB_URI": f"postgresql://bench_authenticator:bench@{address}",
                "PGRST_DB_SCHEMAS": "v1",
                "PGRST_JWT_SECRET": secret,
                "PGRST_SERVER_PORT": str(port),
            },
        )
        server = Server(port, started.pid, make_token(secret, "bench_ingest"))
        try:
            while not is_ready(server):
                if started.poll() is not None:
                    raise SystemExit((Path(temporary) / "ingest.log").read_text())
                threading.Event().wait(0.05)
            yield server
        finally:
            process.stop(process.ProcessId.of(started.pid))
            started.wait()


def is_ready(server: Server) -> bool:
    try:
        return server.post(server.connect(), b"[]") == 200
    except OSError:
        return False


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A PostgreSQL with the schema; its address."""
    port, password = free_port(), secrets.token_hex(8)
    service = Postgres(folder / "cluster", port=port, user="owner", password=password)
    service.prepare(lambda _text: None)
    started = process.start(
        service.command(),
        log=folder / "postgres.log",
        env={**inherited_environment(), **service.environment()},
    )
    try:
        while not service.ready():
            threading.Event().wait(0.05)
        address = f"127.0.0.1:{port}/postgres"
        owner = psycopg2.connect(f"postgresql://owner:{password}@{address}")
        with closing(owner), owner, owner.cursor() as cursor:
            cursor.execute(SCHEMA)
        yield address
    finally:
        process.stop(process.ProcessId.of(started.pid), ask=service.stop_signal)
        started.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
