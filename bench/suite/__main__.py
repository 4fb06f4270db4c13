"""`python -m bench.suite`: measure, print, write."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import verify
from bench.suite import couchdb, first_load, live, many, report, whole
from bench.suite.data import SHARED, write_feed
from bench.suite.report import Figure
from bench.suite.stand import free_port, stand, wait_until
from cht_sync.pipeline.input_runner import SIGN_OF_LIFE
from cht_sync.runtime.logstash import Logstash


@dataclasses.dataclass
class Run:
    """What is wanted, where it may be put, and what was found."""

    documents: int
    many: int
    rounds: int
    seconds: int
    source: Path
    folder: Path
    figures: list[Figure] = dataclasses.field(default_factory=list)
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    postgresql: str = ""

    def tell(self, *figures: Figure) -> None:
        """Print and keep."""
        self.figures += figures
        for one in figures:
            print(one, flush=True)


def measure_first_load(run: Run) -> None:
    """Our rate beside psql's and COPY's, from a source that costs nothing; processor time and memory."""
    feed = write_feed(run.folder, run.documents, run.source)
    rounds = []
    with first_load.from_replay(run.folder / "first-load", feed) as bench:
        ((run.postgresql,),) = bench.ask("show server_version")
        for _ in range(run.rounds):
            psql = first_load.rate_of_psql(bench, run.documents, run.source, run.folder)
            ours = first_load.load(bench, run.documents)
            rounds.append({"psql": psql, **dataclasses.asdict(ours), "rate": ours.rate})
        copy = first_load.rate_of_copy(bench, run.documents, run.source)
    run.details["first load"] = {"bytes a row": feed.bytes_a_row, "copy": copy, "rounds": rounds}

    if postgrest := os.environ.get("POSTGREST_BIN"):
        with first_load.from_replay(run.folder / "postgrest", feed, postgrest) as bench:
            psql = first_load.rate_of_psql(bench, run.documents, run.source, run.folder)
            theirs = first_load.load(bench, run.documents)
        run.details["first load through PostgREST"] = {"psql": psql, **dataclasses.asdict(theirs)}
        run.tell(
            Figure("first load through PostgREST, documents/s", theirs.rate, "/s"),
            Figure("first load through PostgREST / psql", theirs.rate / psql, ""),
        )

    def middle(value: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(value(one) for one in rounds)

    run.tell(
        Figure("first load, documents/s", middle(lambda one: one["rate"]), "/s"),
        Figure("the same upsert in psql", middle(lambda one: one["psql"]), "/s"),
        Figure("COPY into the same table", copy, "/s"),
        Figure("first load / psql", middle(lambda one: one["rate"] / one["psql"]), "", 0.75),
        Figure(
            "engine, microseconds a document", middle(lambda one: one["engine_microseconds"]), "µs", 25, False
        ),
        Figure(
            "ingest, microseconds a document", middle(lambda one: one["ingest_microseconds"]), "µs", 6, False
        ),
    )


def measure_flat(run: Run) -> None:
    """The rate of many documents beside that of a tenth of them; memory at the end."""
    rates = {}
    for count in (run.many // 10, run.many):
        feed = write_feed(run.folder, count, run.source)
        with first_load.from_replay(run.folder / f"flat-{count}", feed) as bench:
            found = first_load.load(bench, count)
        feed.path.unlink()
        rates[count] = found.documents / found.seconds_of_reading
        run.details[f"flat, {count:,}"] = dataclasses.asdict(found)
    run.tell(
        Figure(
            f"rate at {run.many:,} / at {run.many // 10:,}", rates[run.many] / rates[run.many // 10], "", 0.9
        ),
        Figure("engine, most memory", found.engine_megabytes, "MB", 150, False),
        Figure("ingest, most memory", found.ingest_megabytes, "MB", 100, False),
    )


def measure_couchdb(run: Run) -> None:
    """Our rate from the CouchDB-protocol server beside that of curl; then delays and freshness."""
    with stand(run.folder / "couchdb", free_port()) as bench, couchdb.couchdb(bench):
        couchdb.fill(bench.settings, run.documents, run.source)
        first_load.curl(bench, run.documents)
        rates = []
        for _ in range(run.rounds):
            curl = first_load.curl(bench, run.documents)
            rates.append((curl, first_load.load(bench, run.documents)))
        curl = statistics.median(rate for rate, _load in rates)
        ours = statistics.median(found.rate for _curl, found in rates)
        run.details["from the CouchDB server"] = [
            {"curl": rate, **dataclasses.asdict(found)} for rate, found in rates
        ]
        run.tell(
            Figure("curl reads the CouchDB server's feed", curl, "/s"),
            Figure("first load from the CouchDB server", ours, "/s"),
            Figure("first load / curl", statistics.median(f.rate / c for c, f in rates), "", 0.85),
        )
        logstash = Logstash(bench.settings)
        with bench.running(logstash):
            wait_until(logstash.ready)
            _measure_delays(run, bench)


def _measure_delays(run: Run, bench: Any) -> None:
    for rate in (1, 100, 1000):
        found = live.latency(bench, rate, run.seconds)
        run.details[f"latency at {rate}/s"] = {
            "acknowledged a second": found.rate, "documents": len(found.milliseconds), "lost": found.lost,
            **{f"p{part:g}": found.share(part / 100) for part in (50, 90, 95, 99, 99.9)},
        }  # fmt: skip
        targets = (8, 30) if rate == 100 else (None, None)
        run.tell(
            Figure(
                f"PUT to row at {rate}/s ({found.rate:,.0f} reached), median",
                found.share(0.5),
                "ms",
                targets[0],
                False,
            ),
            Figure(f"PUT to row at {rate}/s, 99th percentile", found.share(0.99), "ms", targets[1], False),
        )
    found = live.freshness(bench, 100, run.seconds)
    run.details["freshness at 100/s"] = {
        "acknowledged a second": found.rate, "documents": len(found.milliseconds), "lost": found.lost,
        **{f"p{part}": found.share(part / 100) for part in (50, 95, 99)},
    }  # fmt: skip
    limit = bench.settings.dataemon_interval + 2
    run.tell(Figure("PUT to model at 100/s, 95th percentile", found.share(0.95) / 1000, "s", limit, False))


def measure_many(run: Run) -> None:
    """Twenty databases in one process, beside one with all their documents."""
    # Enough for each that what 20 starts cost does not count.
    feed = write_feed(run.folder, 4 * run.documents, run.source)
    found = many.many(run.folder / "many", feed, 20)
    run.details["20 databases"] = dataclasses.asdict(found)
    run.tell(
        Figure("20 databases / one with all their documents", found.rate / found.rate_of_one, "", 1.0),
        Figure("last of 20 to have half / first", found.last_half, ""),
    )


def measure_idle(run: Run) -> None:
    """The local environment while nothing happens, and its pipelines started anew."""
    with whole.local(run.folder / "idle") as settings:
        couchdb.fill(settings, 1000, run.source)
        wait_until(lambda: whole.is_settled(settings, 1000), every=1.0)
        found = whole.idle(settings, 2 * run.seconds)
        run.details["idle"] = dataclasses.asdict(found)
        due = found.databases * math.ceil(found.seconds / SIGN_OF_LIFE)
        run.tell(
            Figure("idle, share of a core", found.ours * 100, "%", 1, False),
            Figure(f"idle, touches in {found.seconds:.0f} s", found.touches, "", due, False),
            Figure("idle, other rows written", found.rows_written, "", 0, False),
            Figure("idle, runs of dbt", found.dbt_runs, "", 0, False),
        )
        seconds = [whole.restart(settings) for _ in range(run.rounds)]
        run.details["restart"] = seconds
        run.tell(Figure("engine started anew until in sync", statistics.median(seconds), "s", 2, False))


def measure_verify(run: Run) -> None:
    """`cht-sync verify` over many rows, from a server that gives lists."""
    found = verify.measure(run.folder / "verify", run.many, run.many // 20)
    run.details["verify"] = dataclasses.asdict(found)
    run.tell(Figure("verify, documents/s", found.rate, "/s", 50_000))


MEASUREMENTS: dict[str, Callable[[Run], None]] = {
    "first-load": measure_first_load,
    "flat": measure_flat,
    "couchdb": measure_couchdb,
    "many": measure_many,
    "idle": measure_idle,
    "verify": measure_verify,
}


def main() -> None:
    """Read the options, measure, print and write."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.suite",
        description="What the whole chain does on this machine, side by side. Nothing passes or fails.",
        epilog="\n".join(f"{name:<12} {work.__doc__}" for name, work in MEASUREMENTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, help="may be repeated")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--many", type=int, default=1_000_000, help="documents of flat and verify")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=60, help="of each measurement of delays and of rest")
    parser.add_argument("--source", type=Path, default=SHARED, help="documents, one a line, gzip")
    parser.add_argument("--output", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(f"! the machine has other work (load {busy:.1f}): figures will be worse", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL, as another user, has a folder below it
        run = Run(options.documents, options.many, options.rounds, options.seconds, options.source, folder)
        for wanted in options.only or MEASUREMENTS:
            print(wanted, flush=True)
            MEASUREMENTS[wanted](run)
            # After each, so that nothing is lost should a later one fail.
            report.write(options.output, run.figures, run.details, report.machine(run.postgresql or "?"))
    print(f"{options.output}/results.json, {options.output}/results.svg")


if __name__ == "__main__":
    main()
