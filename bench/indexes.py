"""What each index on the documents costs at ingest and gives to readers, side by side in one run.

    python bench/indexes.py ../shared/data/cht_docs.ndjson.gz [--documents N] [--rounds N]

Starts the wheel's PostgreSQL in a temporary folder, makes the schema with init-db-resources.sh, and for
each set of indexes stores the documents as PostgREST does, in batches with positions, then as a replay,
then a tenth of them anew; then asks what dbt and verify ask. Rates are rows for each second of the
backend's processor time, which other work on the machine disturbs least; the best of the rounds counts.
Nothing passes or fails.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import cycle, islice
from pathlib import Path

import psutil
import psycopg2
from psycopg2.extensions import connection as Connection

from cht_sync import process
from cht_sync.runtime.postgres import Postgres, binaries
from cht_sync.runtime.service import inherited_environment

SCRIPT = Path(__file__).parents[1] / "postgres" / "init-db-resources.sh"
BATCH = 2_000
INDEXES = {
    "primary key alone": (),
    "saved_timestamp": ("(saved_timestamp)",),
    "saved_timestamp brin": ("using brin (saved_timestamp)",),
    "both": ("(saved_timestamp)", '("@timestamp")'),
    "both, one brin": ("(saved_timestamp)", 'using brin ("@timestamp")'),
    "saved_timestamp, (_id) with rev": ("(saved_timestamp)", "(_id) include (_rev, _deleted)"),
}
"""What is made beside the primary key."""
UPSERT = """
    insert into v1.medic (_id, _rev, doc, _deleted)
      select _id, _rev, doc, _deleted
      from json_to_recordset(%s) as _(_id text, _rev text, doc jsonb, _deleted boolean)
    on conflict (_id) do update set _rev = excluded._rev, doc = excluded.doc, _deleted = excluded._deleted
"""
QUESTIONS = {
    "saved_timestamp > max, view": """
        select count(doc) from v1.all_documents where saved_timestamp
          > (select max(saved_timestamp) - interval '1 microsecond' from v1.all_documents)""",
    '"@timestamp" > max, view': """
        select count(doc) from v1.all_documents where "@timestamp"
          > (select max("@timestamp") - interval '1 microsecond' from v1.all_documents)""",
    'coalesce("@timestamp" > max, true), view': """
        select count(doc) from v1.all_documents where coalesce("@timestamp"
          > (select max("@timestamp") - interval '1 microsecond' from v1.all_documents), true)""",
    "verify, all in order of _id": "select _id, _rev, _deleted from v1.medic order by _id",
    "verify, 1,000 of them": """
        select _id, _rev, _deleted from v1.medic
        where _id = any(array(select _id from v1.medic tablesample system (5) limit 1000))""",
}


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a server; gives its address as the owner of the database bench sees it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    password = secrets.token_hex(8)
    service = Postgres(folder / "cluster", port=port, user="owner", password=password)
    service.prepare(lambda _text: None)
    running = process.start(
        service.command(), log=folder / "log", env={**inherited_environment(), **service.environment()}
    )
    try:
        while not service.ready():
            threading.Event().wait(0.05)
        server = f"postgresql://owner:{password}@127.0.0.1:{port}"
        with closing(psycopg2.connect(f"{server}/postgres")) as connection:
            connection.autocommit = True
            connection.cursor().execute("create database bench")
        process.run(
            ["sh", SCRIPT],
            env={
                "PATH": f"{binaries()}:{os.environ['PATH']}",
                **{"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGPASSWORD": password},
                **{"POSTGRES_USER": "owner", "POSTGRES_DB": "bench", "COUCHDB_DBS": "medic medic-sentinel"},
                **{"PGRST_DB_PASSWORD": "none", "DBT_POSTGRES_PASSWORD": "none"},
            },
        )
        yield f"{server}/bench"
    finally:
        process.stop(process.ProcessId.of(running.pid), ask=service.stop_signal, patience=service.patience)


def batches(path: Path, count: int, revision: str, *, every: int = 1) -> list[str]:
    """The documents as JSON arrays of rows, with ids in no order, as CouchDB's are."""
    with gzip.open(path, "rt") as lines:
        known = [json.loads(line) for line in lines]
    random = secrets.SystemRandom()
    rows = [
        {
            "_id": f"{hash((number, 'a')) & (1 << 64) - 1:016x}-{number}",
            "_rev": revision,
            "doc": doc,
            "_deleted": False,
        }
        for number, doc in enumerate(islice(cycle(known), count))
        if number % every == 0
    ]
    random.shuffle(rows)
    return [json.dumps(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]


class Backend:
    """A connection, and the processor time that its server process has used."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._process = psutil.Process(connection.info.backend_pid)
        self._epoch = 0

    def seconds(self, work: Callable[[], None]) -> float:
        before = self._process.cpu_times()
        work()
        after = self._process.cpu_times()
        return (after.user + after.system) - (before.user + before.system)

    def store(self, bodies: list[str]) -> None:
        self._epoch += 1
        for number, body in enumerate(bodies, 1):
            headers = {
                "cht-sync-source": "couch/medic",
                "cht-sync-epoch": str(self._epoch),
                "cht-sync-batch": str(number),
                "cht-sync-seq": f"{number}-x",
            }
            with self.connection, self.connection.cursor() as cursor:
                cursor.execute("select set_config('request.headers', %s, true)", (json.dumps(headers),))
                cursor.execute(UPSERT, (body,))

    def prepare(self, indexes: tuple[str, ...]) -> None:
        """An empty table with these indexes alone."""
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute("truncate v1.medic, v1.couchdb_progress")
            cursor.execute(
                "select format('drop index %s', indexrelid::regclass) from pg_index"
                " where indrelid = 'v1.medic'::regclass and not indisprimary"
            )
            for (drop,) in cursor.fetchall():
                cursor.execute(drop)
            for index in indexes:
                cursor.execute(f"create index on v1.medic {index}")
        self._epoch = 0

    def ask(self, question: str) -> float:
        """Milliseconds until the last row is here; of the clock, since scans may have helpers."""
        started = time.perf_counter()
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(question)
        return (time.perf_counter() - started) * 1000

    def vacuum(self) -> None:
        self.connection.autocommit = True
        self.connection.cursor().execute("vacuum analyze v1.medic")
        self.connection.autocommit = False


def measure(
    backend: Backend, indexes: tuple[str, ...], loads: dict[str, list[str]], count: int
) -> dict[str, float]:
    backend.prepare(indexes)
    found: dict[str, float] = {}
    rows = {"load": count, "replay": count, "a tenth anew": count / 10}
    for name, bodies in loads.items():
        found[f"{name}, rows/s"] = rows[name] / backend.seconds(lambda bodies=bodies: backend.store(bodies))
    with backend.connection, backend.connection.cursor() as cursor:
        cursor.execute("select pg_indexes_size('v1.medic') / 1e6")
        found["indexes, MB"] = float(cursor.fetchone()[0])
    backend.vacuum()
    for name, question in QUESTIONS.items():
        found[f"{name}, ms"] = min(backend.ask(question) for _ in range(3))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    first = batches(options.data, options.documents, "1-a")
    loads = {
        "load": first,
        "replay": first,
        "a tenth anew": batches(options.data, options.documents, "2-a", every=10),
    }
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as address:
        backend = Backend(psycopg2.connect(address))
        for _round in range(options.rounds):
            for name, indexes in INDEXES.items():
                for what, value in measure(backend, indexes, loads, options.documents).items():
                    choose = max if what.endswith("rows/s") else min
                    row = best.setdefault(what, {})
                    row[name] = choose(row.get(name, value), value)
    print(f"{options.documents} documents, best of {options.rounds}, {os.cpu_count()} cores")
    base = next(iter(INDEXES))
    for what, row in best.items():
        print(what)
        for name, value in row.items():
            print(f"  {name:34} {value:10.1f}  x {value / row[base]:.2f}")


if __name__ == "__main__":
    main()
