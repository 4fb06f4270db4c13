"""The first load of one database: rates, processor time and memory, beside what PostgreSQL alone can do."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bench.suite.data import SEQUENCE, Document, FeedFile, documents
from bench.suite.replay import replaying
from bench.suite.stand import Stand, stand, wait_until
from cht_sync import process
from cht_sync.runtime.logstash import Logstash

BATCH = 1000
"""Documents in one statement of the comparison: PIPELINE_BATCH_SIZE's default."""
COLUMNS = '_id, _rev, _deleted, doc, doc_as_upsert, "@version"'
UPSERT = f"""
insert into v1.medic ({COLUMNS}) select {COLUMNS}
  from json_to_recordset($body${{body}}$body$)
    as rows (_id text, _rev text, _deleted boolean, doc jsonb, doc_as_upsert boolean, "@version" text)
  on conflict (_id) do update set _rev = excluded._rev, _deleted = excluded._deleted, doc = excluded.doc,
    doc_as_upsert = excluded.doc_as_upsert, "@version" = excluded."@version";
"""
WARMED_UP = 0.2
"""Share of the documents after which processor time is counted: what starting costs is no document's."""


@dataclass(frozen=True)
class Load:
    """Seconds from the start of the engine's process, and from the moment its first batch is stored."""

    documents: int
    seconds: float
    seconds_of_reading: float
    engine_microseconds: float
    """Of processor time for each document."""
    ingest_microseconds: float
    engine_megabytes: float
    ingest_megabytes: float

    @property
    def rate(self) -> float:
        """Documents a second, from the start of the process."""
        return self.documents / self.seconds


def load(bench: Stand, count: int) -> Load:
    """Run the engine over an empty table until all is there."""
    bench.empty()
    table = bench.settings.couchdb_dbs[0]
    begun = time.perf_counter()
    with (
        bench.running(Logstash(bench.settings)) as engine,
        closing(bench.connect()) as connection,
        connection.cursor() as cursor,
    ):

        def reached() -> int:
            engine.must_live()
            cursor.execute("select seq, pending from v1.couchdb_progress")
            row = cursor.fetchone()
            return 0 if row is None or not row[0] else int(row[0].partition("-")[0])

        wait_until(lambda: reached() > 0)
        reading = time.perf_counter()
        first = reached()
        wait_until(lambda: reached() >= count * WARMED_UP, every=0.01)
        at, busy, served = reached(), engine.busy(), bench.postgrest.busy()
        wait_until(lambda: reached() >= count, every=0.01)
        ended = time.perf_counter()
        busy, served = engine.busy() - busy, bench.postgrest.busy() - served
        cursor.execute(f'select count(*) from v1."{table}"')
        assert cursor.fetchone() == (count,), "not all documents have come"
        return Load(
            count,
            ended - begun,
            (ended - reading) * count / max(1, count - first),
            busy / max(1, count - at) * 1e6,
            served / max(1, count - at) * 1e6,
            engine.highest_memory(),
            bench.postgrest.highest_memory(),
        )


def rate_of_psql(bench: Stand, count: int, source: Path, folder: Path) -> float:
    """Documents a second of the same upsert in one connection of psql, one transaction a batch."""
    file = folder / "upsert.sql"
    with file.open("w") as script:
        for number, batch in enumerate(_batches(documents(count, source)), 1):
            headers = {
                "cht-sync-source": "127.0.0.1/medic", "cht-sync-epoch": "1", "cht-sync-batch": str(number),
                "cht-sync-seq": f"{number}-{SEQUENCE}", "cht-sync-pending": "0",
            }  # fmt: skip
            rows = ",".join(_row(one) for one in batch)
            script.write("begin;\n")
            script.write(
                f"select set_config('request.headers', $headers${json.dumps(headers)}$headers$, true);\n"
            )
            script.write(UPSERT.replace("{body}", f"[{rows}]"))
            script.write("commit;\n")
    bench.empty()
    begun = time.perf_counter()
    bench.psql(file)
    rate = count / (time.perf_counter() - begun)
    assert bench.ask("select count(*) from v1.medic") == [(count,)]
    return rate


def curl(bench: Stand, count: int) -> float:
    """Documents a second at which curl reads the CouchDB server's feed while nothing else runs."""
    settings = bench.settings
    login = f"{settings.couchdb_user}:{settings.couchdb_password}"
    address = f"{settings.couchdb_url}/{settings.couchdb_dbs[0]}/_changes?include_docs=true"
    begun = time.perf_counter()
    process.run(
        ["curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", "--config", "-", address],
        stdin=f'user = "{login}"\n',
    )
    return count / (time.perf_counter() - begun)


def rate_of_copy(bench: Stand, count: int, source: Path) -> float:
    """Documents a second of COPY into the same table."""
    bench.empty()
    text = io.StringIO()
    for one in documents(count, source):
        doc = one.text.replace("\\", "\\\\")
        text.write(f"{one.id}\t{one.revision}\t{doc}\n")
    text.seek(0)
    with closing(bench.connect()) as connection, connection.cursor() as cursor:
        begun = time.perf_counter()
        cursor.copy_expert("copy v1.medic (_id, _rev, doc) from stdin", text)
        return count / (time.perf_counter() - begun)


@contextmanager
def from_replay(folder: Path, feed: FeedFile, postgrest: str = "") -> Iterator[Stand]:
    """An installation that reads `medic`, all rows of a feed, from the server that costs nothing.

    `postgrest` is the program of a PostgREST, else the embedded ingest is taken.
    """
    shares = {"medic": range(feed.rows)}
    with replaying(feed, shares) as port, stand(folder, port, postgrest=postgrest) as bench:
        yield bench


def _row(one: Document) -> str:
    return (
        f'{{"_id":"{one.id}","_rev":"{one.revision}","_deleted":false,"doc":{one.text},'
        '"doc_as_upsert":true,"@version":"1"}'
    )


def _batches(all_of_them: Iterable[Document]) -> Iterator[list[Document]]:
    iterator = iter(all_of_them)
    while batch := list(islice(iterator, BATCH)):
        yield batch
