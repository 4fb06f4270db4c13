"""Many databases in one process of the engine, beside one database with all their documents."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.suite.data import FeedFile
from bench.suite.first_load import load
from bench.suite.replay import replaying
from bench.suite.stand import stand, wait_until
from cht_sync.runtime.logstash import Logstash


@dataclass(frozen=True)
class Many:
    """Documents a second, all databases together; `halves` are the seconds until each had half of its own."""

    databases: int
    rate: float
    rate_of_one: float
    halves: Mapping[str, float]

    @property
    def last_half(self) -> float:
        """By how much the last database was later than the first to have half of its documents."""
        return max(self.halves.values()) / min(self.halves.values())


def many(folder: Path, feed: FeedFile, databases: int) -> Many:
    """Load a feed that is shared out among so many databases, then as one."""
    each = feed.rows // databases
    shares = {f"medic-{n:02}": range(n * each, (n + 1) * each) for n in range(databases)}
    with replaying(feed, {"medic": range(each * databases)}) as port, stand(folder / "one", port) as bench:
        alone = load(bench, each * databases).rate
    with (
        replaying(feed, shares) as port,
        stand(folder / "many", port, list(shares)) as bench,
        closing(bench.connect()) as connection,
        connection.cursor() as cursor,
    ):
        bench.empty()
        halves: dict[str, float] = {}
        begun = time.perf_counter()
        with bench.running(Logstash(bench.settings)) as engine:

            def all_there() -> bool:
                engine.must_live()
                cursor.execute("select database, seq from v1.couchdb_progress where seq <> ''")
                now = time.perf_counter() - begun
                reached = {name: int(seq.partition("-")[0]) for name, seq in cursor.fetchall()}
                for name, share in shares.items():
                    if reached.get(name, 0) >= share.start + each / 2:
                        halves.setdefault(name, now)
                return all(reached.get(name, 0) >= share.stop for name, share in shares.items())

            wait_until(all_there, every=0.02)
            took = time.perf_counter() - begun
        return Many(databases, each * databases / took, alone, halves)
