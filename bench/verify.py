"""How long `cht-sync verify` takes, and how much memory: real PostgreSQL, and a server that gives lists.

    .venv/bin/python bench/verify.py --documents 1000000 --deletions 50000

The rows are made in PostgreSQL by SQL; the lists are computed as CouchDB writes them, by a process of its
own, so that they cost next to nothing. `--different N` makes every so-many-th row differ.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import secrets
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg2

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from free_ports import free_port
from postgres_fixture import PostgresServer

from cht_sync import process
from cht_sync.environments import Environment
from cht_sync.reconcile.databases import Wishes, reconcile
from cht_sync.runtime.postgres import Postgres, binaries
from cht_sync.runtime.service import inherited_environment
from cht_sync.settings import Settings, load
from cht_sync.warehouse import schema

SEQUENCE = "g1AAAACneJzLYWBgYMpgTmEQSc4vTc5ISSpKTXYwNDLXMwBCwxyQbCJDUv3___-zMpgTGXOBAuxmxsbGKebm"


def document_id(number: int) -> str:
    """As a UUID, in the order of its number."""
    return f"{number:08x}-5f0c-4d5e-9a55-{number * 7 % 16**12:012x}"


def serve(documents: int, deletions: int, port: Connection) -> None:
    """Give `_all_docs` and `_changes` of so many documents, in pages."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path.endswith("/_all_docs"):
                first = int(json.loads(query["startkey"])[:8], 16) if "startkey" in query else 0
                last = min(documents, first + int(query["limit"]))
                self._answer(_listing(f"{number:032x}", document_id(number)) for number in range(first, last))
            elif parts.path.endswith("/_changes"):
                since = int(query["since"].partition("-")[0])
                last = min(documents + deletions, since + int(query["limit"]))
                self._send(_changes(range(since, last), documents))
            else:
                self._send(f'{{"db_name":"medic","doc_count":{documents}}}')

        def do_POST(self) -> None:
            keys = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["keys"]
            numbers = ((key, int(key[:8], 16)) for key in keys)
            self._answer(_listing(f"{number:032x}", key, number >= documents) for key, number in numbers)

        def _answer(self, rows: Iterable[str]) -> None:
            self._send('{"total_rows":1,"offset":0,"rows":[\r\n' + ",\r\n".join(rows) + "\r\n]}\n")

        def _send(self, text: str) -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


def _listing(digest: str, document: str, deleted: bool = False) -> str:
    mark = ',"deleted":true' if deleted else ""
    return f'{{"id":"{document}","key":"{document}","value":{{"rev":"1-{digest}"{mark}}}}}'


def _changes(numbers: range, documents: int) -> str:
    rows = (
        f'{{"seq":"{number + 1}-{SEQUENCE}","id":"{document_id(number)}",'
        f'"changes":[{{"rev":"1-{number:032x}"}}]' + (',"deleted":true}' if number >= documents else "}")
        for number in numbers
    )
    return (
        '{"results":[\n' + ",\n".join(rows) + f'\n],\n"last_seq":"{numbers.stop}-{SEQUENCE}","pending":0}}\n'
    )


@contextmanager
def postgres(folder: Path) -> Iterator[PostgresServer]:
    """A fresh cluster."""
    server = PostgresServer("127.0.0.1", free_port(), "owner", secrets.token_hex(8), binaries())
    service = Postgres(folder / "cluster", port=server.port, user=server.user, password=server.password)
    service.prepare(lambda _text: None)
    environment = {**inherited_environment(), **service.environment()}
    running = process.start(service.command(), log=folder / "postgres.log", env=environment)
    identity = process.ProcessId.of(running.pid)
    try:
        while not service.ready():
            time.sleep(0.05)
        yield server
    finally:
        process.stop(identity, ask=service.stop_signal, patience=service.patience)
        running.wait()


def fill(dsn: str, documents: int, deletions: int, different: int) -> None:
    """Make the rows as the pipeline would have."""
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("set local session_replication_role = replica; set local synchronous_commit = off")
        cursor.execute(
            """
            insert into v1.medic (_id, _rev, doc, _deleted, saved_timestamp)
              select lpad(to_hex(n), 8, '0') || '-5f0c-4d5e-9a55-' || lpad(to_hex(n::bigint * 7), 12, '0'),
                case when %(different)s > 0 and n %% greatest(%(different)s, 1) = 0 then '0-' else '1-' end
                  || lpad(to_hex(n), 32, '0'),
                jsonb_build_object('n', n, 'text', repeat(md5(n::text), 25)), n >= %(documents)s, now()
              from (select n from generate_series(0, %(all)s - 1) as n order by md5(n::text)) as shuffled
            """,
            {"documents": documents, "all": documents + deletions, "different": different},
        )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("vacuum analyze v1.medic")
        cursor.execute("select pg_size_pretty(pg_total_relation_size('v1.medic'))")
        (size,) = cursor.fetchone() or ("?",)
    print(f"{documents:,} rows and {deletions:,} tombstones: {size}", flush=True)
    connection.close()


def settings_of(environ: dict[str, str], home: Path) -> Settings:
    """The settings; those of the dashboards are not needed."""
    return load(Environment.GAMMA, home=home, environ=environ, read_file=False, needs=tuple(environ))


def measured(environ: dict[str, str], home: Path, answers: Connection) -> None:
    """Verify, and tell what it took; in a process that has done nothing else."""
    settings = settings_of(environ, home)
    begun = time.monotonic()
    finding = reconcile(settings, "medic", Wishes(wait=0), lambda _done, _total: None).finding
    seconds = time.monotonic() - begun
    usage = resource.getrusage(resource.RUSAGE_SELF)
    busy = usage.ru_utime + usage.ru_stime
    answers.send((finding.same, finding.counts, seconds, busy, usage.ru_maxrss // 1024))


@dataclass(frozen=True)
class Verified:
    """Seconds of the clock and of the process; megabytes at most; `counts` by kind of difference."""

    same: bool
    counts: dict[str, int]
    rows: int
    seconds: float
    busy: float
    megabytes: int

    @property
    def rate(self) -> float:
        """Documents and deletions a second."""
        return self.rows / self.seconds


def measure(folder: Path, documents: int, deletions: int, different: int = 0) -> Verified:
    """Prepare both sides in a folder, and verify."""
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with postgres(folder) as server:
        ports, port = context.Pipe(duplex=False)
        lists = context.Process(target=serve, args=(documents, deletions, port), daemon=True)
        lists.start()
        environ = {
            "COUCHDB_HOST": "127.0.0.1", "COUCHDB_PORT": str(ports.recv()), "COUCHDB_USER": "medic",
            "COUCHDB_PASSWORD": secrets.token_hex(16), "COUCHDB_DBS": "medic", "POSTGRES_HOST": server.host,
            "POSTGRES_PORT": str(server.port), "POSTGRES_USER": server.user,
            "POSTGRES_PASSWORD": server.password, "DBT_POSTGRES_PASSWORD": secrets.token_hex(16),
            "PGRST_DB_PASSWORD": secrets.token_hex(16), "PGRST_JWT_SECRET": secrets.token_hex(32),
        }  # fmt: skip
        settings = settings_of(environ, folder)
        schema.initialise(settings, psql_folder=binaries())
        fill(server.dsn("data"), documents, deletions, different)
        answers, answer = context.Pipe(duplex=False)
        verifying = context.Process(target=measured, args=(environ, folder, answer))
        verifying.start()
        same, counts, seconds, busy, memory = answers.recv()
        verifying.join()
        lists.terminate()
        found = {kind.value: count for kind, count in counts.items() if count}
        return Verified(same, found, documents + deletions, seconds, busy, memory)


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--deletions", type=int, default=50_000)
    parser.add_argument("--different", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), options.documents, options.deletions, options.different)
    print(f"same: {found.same}, {found.counts or 'no differences'}")
    print(
        f"{found.seconds:.1f} s ({found.rate:,.0f} documents/s), {found.busy:.1f} s of its own, "
        f"at most {found.megabytes} MB"
    )


if __name__ == "__main__":
    main()
