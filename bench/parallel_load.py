"""How fast `cht-sync load` is with 1, 2 and 4 workers, and what a document costs on its way.

    .venv/bin/python -m bench.parallel_load --documents 200000

Real PostgreSQL; the source is a process that gives lists of documents, computed before, and costs next to
nothing. `--latency 50` makes it answer so many milliseconds later, as a CouchDB far away does. The costs are
measured by one worker in this process, which takes the time between its steps; bench/scale.py takes them.
"""

from __future__ import annotations

import argparse
import bisect
import dataclasses
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from bench.suite.data import SEQUENCE
from bench.suite.data import documents as documents_of
from bench.suite.stand import Stand, stand
from cht_sync.load import chunks, run
from cht_sync.load.ledger import Ledger
from cht_sync.load.review import review
from cht_sync.load.staging import Staging
from cht_sync.reconcile.databases import sides
from cht_sync.reconcile.row import RowMaker

CHUNK = 5_000
INFORMATION = {"db_name": "medic", "instance_start_time": "1795318794"}
WELCOME = {"couchdb": "Welcome", "version": "3.4.3", "uuid": "22a0658a998a8561c08505291746576d"}


@dataclasses.dataclass(frozen=True)
class Costs:
    """Microseconds a document; bytes a document as CouchDB gives it, and of WAL that it makes."""

    read: float
    """Planning, asking, and until a document has come from the source and is decoded."""
    make: float
    """Filters and rows, in the worker."""
    stage: float
    """In PostgreSQL, side by side."""
    merge: float
    """In PostgreSQL, one worker at a time."""
    review: float
    """Looking for deletions after the chunks, one machine at a time; for each change of the feed."""
    bytes: float
    wal: float


@dataclasses.dataclass(frozen=True)
class Point:
    """A load: documents a second from its begin to the last chunk; seconds of the look-through after that."""

    workers: int
    rate: float
    review_seconds: float


def serve(documents: int, latency: float, port: Connection) -> None:
    """Give `_all_docs` of so many documents, with and without them, and `_changes` without them."""
    feed: list[bytes] = []
    listing: list[tuple[str, bytes, bytes]] = []
    for number, one in enumerate(documents_of(documents), 1):
        head = f'{{"id":"{one.id}","key":"{one.id}","value":{{"rev":"{one.revision}"}}'
        listing.append((one.id, f'{head},"doc":{one.text}}}'.encode(), f"{head}}}".encode()))
        change = f'{{"seq":"{number}-{SEQUENCE}","id":"{one.id}","changes":[{{"rev":"{one.revision}"}}]}}'
        feed.append(change.encode())
    listing.sort()
    ids = [one for one, _with, _without in listing]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(latency)
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path.endswith("/_all_docs"):
                first = bisect.bisect_left(ids, json.loads(query.get("startkey", '""')))
                first += int(query.get("skip", 0))
                last = min(first + int(query["limit"]), len(ids))
                if "endkey" in query:
                    last = min(last, bisect.bisect_left(ids, json.loads(query["endkey"])))
                place = 1 if "include_docs" in query else 2
                chosen = [row[place] for row in listing[first:last]]
                self._send(b'{"total_rows":1,"offset":0,"rows":[\r\n' + b",\r\n".join(chosen) + b"\r\n]}\n")
            elif parts.path.endswith("/_changes"):
                since = query["since"].partition("-")[0]
                first = len(feed) if since == "now" else int(since)
                changes = feed[first : first + int(query["limit"])]
                end = f'\n],\n"last_seq":"{first + len(changes)}-{SEQUENCE}","pending":0}}\n'
                self._send(b'{"results":[\n' + b",\n".join(changes) + end.encode())
            elif parts.path.strip("/"):
                self._send(json.dumps({**INFORMATION, "doc_count": len(ids)}).encode())
            else:
                self._send(json.dumps(WELCOME).encode())

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


@contextmanager
def source(documents: int, latency: float) -> Iterator[int]:
    """The port of a server in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ports, port = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(documents, latency, port), daemon=True)
    process.start()
    try:
        yield ports.recv()
    finally:
        process.terminate()
        process.join()


def rate_with(bench: Stand, documents: int, workers: int) -> Point:
    """Load everything into an empty table."""
    bench.empty()
    bench.ask("delete from v1.cht_sync_loads")
    run.begin(bench.settings, "medic", chunk_size=CHUNK, anew=False)
    ended = run.run(bench.settings, "medic", workers=workers, advance=lambda _: None, stop=threading.Event())
    ((rows,),) = bench.ask("select count(*) from v1.medic")
    if not ended.ended or rows != documents:
        raise SystemExit(f"{rows} rows of {documents} documents")
    ((chunks_seconds, review_seconds),) = bench.ask("""
        select extract(epoch from last - started_at)::float8, extract(epoch from ended_at - last)::float8
        from v1.cht_sync_loads, (select max(done_at) as last from v1.cht_sync_load_chunks) as chunks
    """)
    return Point(workers, documents / chunks_seconds, review_seconds)


def costs(bench: Stand, documents: int) -> Costs:
    """Do the chunks in this process, and take the time of each step; of the look-through all."""
    bench.empty()
    bench.ask("delete from v1.cht_sync_loads")
    settings = bench.settings
    run.begin(settings, "medic", chunk_size=CHUNK, anew=False)
    maker = RowMaker(settings, "medic")
    read = make = stage = merge = 0.0
    size = count = 0
    ((wal,),) = bench.ask("select pg_current_wal_lsn()")
    with sides(settings, "medic", writing=True) as (couch, table):
        ledger = Ledger(table)
        begins: str | None = ""
        while begins is not None:
            moment = time.perf_counter()
            ends = chunks.next_bound(couch, begins, CHUNK)
            with ledger.transaction() as cursor:
                staging = Staging(cursor, table)
                for part in couch.range(begins, ends):
                    arrived = time.perf_counter()
                    rows = [maker.first_try(one.id, one.state, one.content) for one in part]
                    made = time.perf_counter()
                    staging.add([row for row in rows if row is not None])
                    staged = time.perf_counter()
                    read, make, stage = read + arrived - moment, make + made - arrived, stage + staged - made
                    size += sum(len(one.content) for one in part)
                    count += len(part)
                    moment = time.perf_counter()
                couch.identity()
                read, moment = read + time.perf_counter() - moment, time.perf_counter()
                staging.merge(())
            merge += time.perf_counter() - moment
            begins = ends
        moment = time.perf_counter()
        review(couch, table, maker, threading.Event(), lambda: None)
        looking = time.perf_counter() - moment
    ((written,),) = bench.ask("select pg_current_wal_lsn() - %s::pg_lsn", wal)
    if count != documents:
        raise SystemExit(f"{count} documents of {documents} were read")
    micro = 1e6 / count
    steps = [seconds * micro for seconds in (read, make, stage, merge, looking)]
    return Costs(*steps, size / count, float(written) / count)


def measure(documents: int, latency: float, workers: list[int], rounds: int) -> tuple[Costs, list[Point]]:
    """What a document costs, and the points, of which each is the median of its rounds in turn."""
    with (
        tempfile.TemporaryDirectory() as folder,
        source(documents, latency) as port,
        stand(Path(folder), port) as bench,
    ):
        found = costs(bench, documents)
        all_points = [[rate_with(bench, documents, one) for one in workers] for _round in range(rounds)]
    points = []
    for of_one in zip(*all_points, strict=True):
        points.append(sorted(of_one, key=lambda point: point.rate)[len(of_one) // 2])
    return found, points


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds before each answer")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a file for bench/scale.py")
    options = parser.parse_args()
    found, points = measure(options.documents, options.latency / 1000, options.workers, options.rounds)
    print(f"{os.cpu_count()} processors, {options.documents:,} documents of {found.bytes:,.0f} bytes")
    print(
        f"a document: read {found.read:.1f} µs, made into a row {found.make:.1f} µs, "
        f"staged {found.stage:.1f} µs, merged {found.merge:.1f} µs, "
        f"looked for deletions {found.review:.1f} µs; {found.wal:,.0f} bytes of WAL"
    )
    for point in points:
        share = point.rate / points[0].rate
        print(
            f"{point.workers} workers: {point.rate:,.0f} documents/s, {share:.2f} of one; "
            f"then {point.review_seconds:.1f} s"
        )
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        shown = {"costs": dataclasses.asdict(found), "points": [dataclasses.asdict(one) for one in points]}
        options.output.write_text(json.dumps({"processors": os.cpu_count(), **shown}, indent=2) + "\n")


if __name__ == "__main__":
    main()
