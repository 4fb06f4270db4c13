"""What the models cost after a change, beside few documents and beside a hundred times as many.

    python bench/models.py [--few N] [--many N] [--changed N] [--rounds N]

Starts the wheel's PostgreSQL in a temporary folder and makes two databases with init-db-resources.sh: one
with the generator's first documents, one with as many copies of them, each with ids of its own, as make up
the many. The models are built once in both. Then, in turn, so that their ratio holds whatever else the
machine does: documents are changed (edited, made and deleted, in one transaction), and the warm runner runs.
Seconds are those of the whole run, and of each model as dbt measures it; the least of the rounds counts.
Nothing passes or fails; what is promised is a ratio of 2 at most. A million documents take 5 GB of disk and
some minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psycopg2
from indexes import SCRIPT, UPSERT, postgres
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import parse_dsn
from psycopg2.extras import execute_values

from cht_sync import process
from cht_sync.generator.origin import Origin
from cht_sync.generator.plan import document, edited, tombstone
from cht_sync.runtime.postgres import binaries
from cht_sync.transform.options import TransformOptions
from cht_sync.transform.results import RunOutcome
from cht_sync.transform.runner import DbtRunner

DBT = Path(__file__).parents[1] / "dbt"
ORIGIN = Origin(seed=1)
NEW, DELETED = 0.1, 0.05
"""Shares of the changed documents; the others are edited."""
PLACE = "@@@@"
"""In the ids of the originals: where the number of the copy comes."""
IDS = re.compile(
    r'(?<=[0-9a-f]{8}-)[0-9a-f]{4}(?=-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})|(?<="patient_id": ")'
    r'|(?<=chw_)(?=[0-9a-f]{8}")'
)
COPY = """
    insert into v1.medic (_id, _rev, doc)
      select doc ->> '_id', '1-a', doc
      from (select replace(original, %s, %s)::jsonb from originals) as copies(doc)
"""
"""Everything in a copy refers to what is in the same copy."""


@dataclass
class Database:
    """A database with that many documents, and what the rounds have found."""

    documents: int
    originals: int
    connection: Connection
    dbt: DbtRunner
    seconds: list[float] = field(default_factory=list)
    models: dict[str, list[float]] = field(default_factory=dict)
    batches: int = 0

    def load(self) -> None:
        """Store the originals and as many copies as are wanted, each copy in a transaction of its own."""
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute("create temporary table originals (original text)")
            originals = (json.dumps(document(ORIGIN, index)) for index in range(self.originals))
            execute_values(
                cursor, "insert into originals values %s", ((IDS.sub(PLACE, text),) for text in originals)
            )
        for copy in range(self.documents // self.originals):
            with self.connection, self.connection.cursor() as cursor:
                self.as_pipeline(cursor)
                cursor.execute(COPY, (PLACE, f"{copy:04}"))
        self.vacuum()

    def change(self, count: int, chance: Random) -> None:
        """Edit, make and delete documents, as a pipeline does, in one transaction."""
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(
                "select doc from v1.medic tablesample bernoulli (%s) where not _deleted"
                " order by random() limit %s",
                (min(100, count * 300 / self.documents), count),
            )
            found = [doc for (doc,) in cursor.fetchall()]
            rows = []
            for number, doc in enumerate(found):
                if number < count * NEW:
                    changed = {**doc, "_id": f"{chance.getrandbits(128):032x}"}
                elif number < count * (NEW + DELETED):
                    changed = tombstone(str(doc["_id"]))
                else:
                    changed = edited(doc, chance)
                rows.append(
                    {
                        "_id": changed["_id"],
                        "_rev": f"2-{chance.getrandbits(64):x}",
                        "doc": changed,
                        "_deleted": bool(changed.get("_deleted")),
                    }
                )
            self.as_pipeline(cursor)
            cursor.execute(UPSERT, (json.dumps(rows),))

    def as_pipeline(self, cursor: Cursor) -> None:
        self.batches += 1
        headers = {
            "cht-sync-source": "couch/medic",
            "cht-sync-epoch": "1",
            "cht-sync-batch": str(self.batches),
        }
        cursor.execute("select set_config('request.headers', %s, true)", (json.dumps(headers),))

    def measure(self) -> None:
        outcome = self.run()
        self.seconds.append(outcome.seconds)
        for node in outcome.nodes:
            self.models.setdefault(node.name, []).append(node.seconds)

    def run(self) -> RunOutcome:
        outcome = self.dbt.run()
        if not outcome.succeeded:
            raise SystemExit(str(outcome.failures))
        return outcome

    def vacuum(self) -> None:
        self.connection.autocommit = True
        self.connection.cursor().execute("vacuum analyze")
        self.connection.autocommit = False


def create(address: str, documents: int, originals: int, folder: Path) -> Database:
    """Make a database of that name on the server, and load it."""
    name = f"with_{documents}"
    server = parse_dsn(address)
    with closing(psycopg2.connect(address)) as connection:
        connection.autocommit = True
        connection.cursor().execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    process.run(
        ["sh", SCRIPT],
        env={
            "PATH": f"{binaries()}:{os.environ['PATH']}",
            **{"PGHOST": server["host"], "PGPORT": server["port"], "PGPASSWORD": server["password"]},
            **{"POSTGRES_USER": server["user"], "POSTGRES_DB": name, "COUCHDB_DBS": "medic"},
            **{"PGRST_DB_PASSWORD": "none", "DBT_POSTGRES_PASSWORD": server["password"]},
        },
    )
    options = TransformOptions(
        project=DBT / "packages" / "cht_pipeline",
        profiles=DBT,
        work_folder=folder / name,
        host=server["host"],
        port=int(server["port"]),
        user=f"{name}_dbt",
        password=server["password"],
        database=name,
    )
    connection = psycopg2.connect(**{**server, "dbname": name})
    return Database(documents, originals, connection, DbtRunner(options))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--changed", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    chance = ORIGIN.random("changes", 0)
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as address:
        databases = [
            create(address, count, options.few, Path(folder)) for count in (options.few, options.many)
        ]
        for database in databases:
            started = time.monotonic()
            database.load()
            loaded = time.monotonic()
            outcome = database.run()
            database.vacuum()
            print(
                f"{database.documents} documents: loaded in {loaded - started:.0f} s, models made in"
                f" {outcome.seconds:.1f} s",
                flush=True,
            )
        for _round in range(options.rounds):
            for database in databases:
                database.change(options.changed, chance)
                database.measure()
            print("  ".join(f"{database.seconds[-1]:.2f} s" for database in databases), flush=True)
        for database in databases:
            database.connection.close()
    print(f"{options.changed} changed documents, least of {options.rounds} rounds, {os.cpu_count()} cores")
    few, many = databases
    print(f"{'':34} {f'of {few.documents}':>12} {f'of {many.documents}':>12}  ratio")
    for name, seconds in {"the whole run": few.seconds, **few.models}.items():
        others = many.seconds if name == "the whole run" else many.models[name]
        print(f"{name:34} {min(seconds):10.3f} s {min(others):10.3f} s  {min(others) / min(seconds):.2f}")


if __name__ == "__main__":
    main()
