"""What so many workers and machines give, up to a thousand million documents, by what a document costs here.

    .venv/bin/python -m bench.parallel_load --output build/parallel-load.json
    .venv/bin/python -m bench.scale build/parallel-load.json

A closed network of queues: each worker is at one place at a time, in the order of a document's way (source,
network, worker, PostgreSQL side by side, merging one at a time, write-ahead log). The rate is by exact mean
value analysis of that network (Reiser and Lavenberg, 1980); a place with several servers is taken as a faster
one and a delay (Seidmann et al., 1987). It is first checked against the loads that were measured, on a
machine that all places share; then printed for machines as one rents them, with the place that is the limit.

What it leaves out: caches that are too small for the table's indexes, which make merging dearer where the
table is larger than memory; and what else the servers have to do.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from bench.parallel_load import Costs, Point

SECOND = 1e6
"""Microseconds."""
SIZES = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
MODELS = 102.0
"""Microseconds a document for making our models from nothing, one connection (bench/README.md)."""
COUCHDB = 4_000.0
"""Documents a second with their text that one node of CouchDB gives; an assumption: no CouchDB was here."""


@dataclass(frozen=True)
class Place:
    """Where a document is for `micros` microseconds; so many `servers` of it work side by side."""

    name: str
    micros: float
    servers: int = 1


@dataclass(frozen=True)
class Site:
    """Machines: processors of the workers and of PostgreSQL, nodes of CouchDB; megabytes a second."""

    name: str
    workers: int
    worker_processors: int
    postgresql_processors: int
    couchdb_nodes: int
    network: float
    log: float


SITES = (
    Site("1 machine of 4 processors for all, 1 node of CouchDB", 4, 2, 2, 1, 120, 200),
    Site("PostgreSQL of 8, 1 machine of 4, 3 nodes", 8, 4, 8, 3, 120, 400),
    Site("PostgreSQL of 16, 2 machines of 8, 6 nodes", 32, 16, 16, 6, 1_200, 800),
    Site("PostgreSQL of 32, 4 machines of 8, 12 nodes", 64, 32, 32, 12, 1_200, 1_000),
    Site("PostgreSQL of 32, 8 machines of 8, 24 nodes", 128, 64, 32, 24, 1_200, 1_000),
)


def rate(places: list[Place], workers: int) -> tuple[float, str]:
    """Documents a second with so many workers, and the place that is busiest."""
    queues, delay = [], 0.0
    for place in places:
        queues.append(place.micros / place.servers)
        delay += place.micros * (place.servers - 1) / place.servers
    waiting = [0.0] * len(queues)
    found = 0.0
    for present in range(1, workers + 1):
        stays = [own * (1 + before) for own, before in zip(queues, waiting, strict=True)]
        found = present / (sum(stays) + delay)
        waiting = [found * stay for stay in stays]
    busiest = max(places, key=lambda place: place.micros / place.servers)
    return found * SECOND, busiest.name


def here(costs: Costs, processors: int) -> list[Place]:
    """The machine of the measurement: all share its processors, and only merging has a queue of its own."""
    shared = costs.read + costs.make + costs.stage
    return [Place("processors", shared, processors), Place("merging", costs.merge)]


def there(costs: Costs, site: Site) -> list[Place]:
    """Machines apart."""
    return [
        Place("CouchDB", SECOND / COUCHDB, site.couchdb_nodes),
        Place("network", costs.bytes / site.network),
        Place("workers", costs.read + costs.make, site.worker_processors),
        Place("PostgreSQL", costs.stage, max(1, site.postgresql_processors - 1)),
        Place("merging", costs.merge),
        Place("write-ahead log", costs.wal / site.log),
    ]


def spoken(seconds: float) -> str:
    """A duration for people."""
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 48 * 3_600 else f"{seconds / 86_400:.1f} d"


def main() -> None:
    """Read what was measured, check, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measured", type=Path)
    found = json.loads(parser.parse_args().measured.read_text())
    costs, points = Costs(**found["costs"]), [Point(**one) for one in found["points"]]
    print(f"Measured on {found['processors']} processors, and what the model says of them:\n")
    print("| workers | measured | model | |\n|---|---|---|---|")
    for point in points:
        said, _limit = rate(here(costs, found["processors"]), point.workers)
        print(f"| {point.workers} | {point.rate:,.0f} | {said:,.0f} | {said / point.rate:.2f} |")
    print("\nFirst load with its look for deletions, and all models from nothing over one connection:\n")
    print("| | documents/s | limit |" + "".join(f" {size // 1_000_000:,} M |" for size in SIZES))
    print("|---|---|---|" + "---|" * len(SIZES))
    for site in SITES:
        said, limit = rate(there(costs, site), site.workers)
        times = "".join(f" {spoken(size / said + size * costs.review / SECOND)} |" for size in SIZES)
        print(f"| {site.name}, {site.workers} workers | {said:,.0f} | {limit} |{times}")
    times = "".join(f" {spoken(size * MODELS / SECOND)} |" for size in SIZES)
    print(f"| models | {SECOND / MODELS:,.0f} | dbt |{times}")
    print(f"\nDisk, documents alone: {costs.bytes:,.0f} bytes each as JSON, {costs.wal:,.0f} of WAL.")


if __name__ == "__main__":
    main()
