"""What partitions of a table of documents cost and give, side by side in one run.

    python bench/partitions.py DATA.ndjson.gz [--documents N] [--rounds N] [--partitions 0 4 16]

Starts the wheel's PostgreSQL in a temporary folder, makes the schema with init-db-resources.sh, and for
each number of partitions makes them with partition-table.sql, stores the documents as PostgREST does, in
batches with positions, then as a replay, then a tenth of them anew; vacuums what that left; asks what dbt
and verify ask; and moves the filled table, out of its partitions or into them. What is of the backend's
processor time is disturbed least by other work on the machine; all else is of the clock. The best of the
rounds counts; Ctrl-C ends it with what was found so far. Nothing passes or fails.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg2
from indexes import SCRIPT, Backend, batches, postgres
from psycopg2 import sql

from cht_sync import process
from cht_sync.runtime.postgres import binaries

PARTITION = SCRIPT.with_name("partition-table.sql")
AGAIN = 4
"""The partitions that a plain table is moved into, for the time that takes."""
QUESTIONS = {
    "saved_timestamp > max, view": """
        select count(doc) from v1.all_documents where saved_timestamp
          > (select max(saved_timestamp) - interval '1 microsecond' from v1.all_documents)""",
    "nothing new, planning included": """
        select count(doc) from v1.all_documents where saved_timestamp > now() + interval '1 day'""",
    "1,000 documents by _id": "select count(doc) from v1.medic where _id = any({ids})",
    "one document by _id": "select doc from v1.medic where _id = ({ids})[1]",
    "verify, all in order of _id": "select _id, _rev, _deleted from v1.medic order by _id",
    "all documents, by their type": "select doc ->> 'type', count(*) from v1.medic group by 1",
}


def partition(address: str, count: int) -> float:
    """Seconds that the script takes; 0 where the table has so many partitions already."""
    with psycopg2.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_inherits where inhparent = 'v1.medic'::regclass")
        if cursor.fetchone() == (count,):
            return 0
    connection.close()
    url, variables = psycopg2.extensions.parse_dsn(address), {"table": "medic", "partitions": str(count)}
    started = time.perf_counter()
    process.run(
        [
            *(binaries() / "psql", "--no-psqlrc", "--file", PARTITION),
            *(word for name, value in variables.items() for word in ("--set", f"{name}={value}")),
        ],
        env={
            "PATH": os.environ["PATH"],
            **{"PGHOST": url["host"], "PGPORT": url["port"], "PGDATABASE": url["dbname"]},
            **{"PGUSER": url["user"], "PGPASSWORD": url["password"]},
        },
    )
    return time.perf_counter() - started


def clock(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def maintain(backend: Backend, command: str) -> None:
    backend.connection.autocommit = True
    backend.connection.cursor().execute(f"{command} v1.medic")
    backend.connection.autocommit = False


def size(backend: Backend, measure: str) -> float:
    """Megabytes of all tables and partitions of medic."""
    with backend.connection, backend.connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(
                "select sum({}(oid)) / 1e6 from pg_class where relkind = 'r' and relname ~ '^medic(_|$)'"
            ).format(sql.Identifier(measure))
        )
        return float(cursor.fetchone()[0])


def measure(address: str, count: int, loads: dict[str, list[str]], documents: int) -> dict[str, float]:
    """An empty table first; what is measured, with its unit in its name."""
    backend = Backend(psycopg2.connect(address))
    with backend.connection, backend.connection.cursor() as cursor:
        cursor.execute("truncate v1.medic, v1.couchdb_progress")
    partition(address, count)
    found: dict[str, float] = {}
    rows = {"load": documents, "replay": documents, "a tenth anew": documents / 10}
    for name, bodies in loads.items():
        used = 0.0

        def work(bodies: list[str] = bodies) -> None:
            nonlocal used
            used = backend.seconds(lambda: backend.store(bodies))

        took = clock(work)
        found[f"{name}, rows/s of processor time"] = rows[name] / used
        found[f"{name}, rows/s"] = rows[name] / took
        if name == "load":
            found["indexes after the load, MB"] = size(backend, "pg_indexes_size")
            found["rows after the load, MB"] = size(backend, "pg_table_size")
            found["first vacuum, s of processor time"] = backend.seconds(lambda: maintain(backend, "vacuum"))
            found["analyze, s of processor time"] = backend.seconds(lambda: maintain(backend, "analyze"))
    found["vacuum of a tenth, s of processor time"] = backend.seconds(lambda: maintain(backend, "vacuum"))
    maintain(backend, "analyze")
    ids = "'{" + ",".join(row["_id"] for row in json.loads(loads["load"][0])[:1000]) + "}'::text[]"
    for name, question in QUESTIONS.items():
        found[f"{name}, ms"] = min(backend.ask(question.replace("{ids}", ids)) for _ in range(5))
    backend.connection.close()
    moved = partition(address, AGAIN if count == 0 else 0)
    found["the filled table moved, rows/s"] = documents / moved
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--documents", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--partitions", type=int, nargs="+", default=[0, 4, 16])
    options = parser.parse_args()
    first = batches(options.data, options.documents, "1-a")
    loads = {
        "load": first,
        "replay": first,
        "a tenth anew": batches(options.data, options.documents, "2-a", every=10),
    }
    best: dict[str, dict[int, float]] = {}
    rounds = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        postgres(Path(folder)) as address,
        suppress(KeyboardInterrupt),
    ):
        for rounds in range(1, options.rounds + 1):
            # In turn, so that what grows or slows down during a run meets each of them.
            first_one = (rounds - 1) % len(options.partitions)
            for count in options.partitions[first_one:] + options.partitions[:first_one]:
                for what, value in measure(address, count, loads, options.documents).items():
                    choose = max if "rows/s" in what else min
                    row = best.setdefault(what, {})
                    row[count] = choose(row.get(count, value), value)
    memory = psutil.virtual_memory().total / 2**30
    print(
        f"{options.documents} documents, best of {rounds}, {os.cpu_count()} cores, {memory:.0f} GiB of memory"
    )
    base = options.partitions[0]
    for what, row in best.items():
        print(what)
        for count, value in sorted(row.items()):
            ratio = f"x {value / row[base]:.2f}" if row.get(base) else ""
            print(f"  {count:3} partitions {value:12.2f}  {ratio}")


if __name__ == "__main__":
    main()
