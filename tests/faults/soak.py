"""An hour of people at work and faults at random moments: `make soak`; figures in docs/reliability.md.

Every part is killed again and again, and every connection has every fault. Every few minutes people rest, and
PostgreSQL is compared with CouchDB document by document, and the models with PostgreSQL.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from peak_memory import peak_memory
from reconcile.world import found

from faults.chain import CONNECTIONS, Chain
from faults.parts import Part
from faults.test_connections import EVERYWHERE, HTTP, OVER_HTTP

BETWEEN = (1.0, 12.0)
"""Seconds from one fault to the next."""
LASTING = (0.2, 6.0)
"""Seconds that a fault between two parts lasts."""
CHECK_EVERY = 300.0
"""Seconds between two comparisons."""


@dataclass
class Outcome:
    """What is told at the end; memory in bytes, times in seconds."""

    seed: int
    seconds: float = 0.0
    writes: int = 0
    documents: int = 0
    tombstones: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    ended_only_by_force: Counter[str] = field(default_factory=Counter)
    """Parts that were asked to end and did not, for as long as the supervisor waits."""
    comparisons: int = 0
    lost: int = 0
    doubled: int = 0
    dead_letters: int = 0
    tracebacks: int = 0
    longest_recovery: float = 0.0
    peak_memory: dict[str, int] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.dead_letters or self.tracebacks)


class Soak:
    """One run over one chain."""

    def __init__(self, chain: Chain, seed: int) -> None:
        self._chain = chain
        self._dice = random.Random(seed)
        self._moment = threading.Event()
        self.outcome = Outcome(seed)

    def run(self, seconds: float) -> None:
        began = time.monotonic()
        until = began + seconds
        while time.monotonic() < until:
            check = min(time.monotonic() + CHECK_EVERY, until)
            with self._chain.load(self._dice.getrandbits(32), pause=0.15) as load:
                while time.monotonic() < check:
                    self._fault()
                    self._look_at_memory()
                    self._moment.wait(self._dice.uniform(*BETWEEN))
            self.outcome.writes += load.written
            self._compare()
            self.outcome.seconds = time.monotonic() - began
            self._tell()

    def _fault(self) -> None:
        if self._dice.random() < 0.4:
            part = self._dice.choice(self._chain.parts)
            way = self._dice.choice((signal.SIGKILL, part.service.stop_signal))
            if part is self._chain.postgres and self._dice.random() < 0.5:
                way = signal.SIGQUIT
            self.outcome.faults[f"{part.name}: {way.name}"] += 1
            if way is part.service.stop_signal:
                part.stop()
                if part.running.returncode == -signal.SIGKILL:
                    self.outcome.ended_only_by_force[part.name] += 1
            else:
                part.signal(way)
            self._chain.restart(part)
            return
        connection = self._dice.choice(CONNECTIONS)
        kinds = {**EVERYWHERE, **(OVER_HTTP if connection in HTTP else {})}
        kind = self._dice.choice(sorted(kinds))
        with self._chain.proxies[connection].faulty(kinds[kind](self._dice)):
            self._moment.wait(self._dice.uniform(*LASTING))
        self.outcome.faults[f"{connection}: {kind}"] += 1

    def _compare(self) -> None:
        began = time.monotonic()
        self._chain.caught_up()
        self._chain.models_caught_up()
        self.outcome.longest_recovery = max(self.outcome.longest_recovery, time.monotonic() - began)
        winners, rows = self._chain.world.winners(), self._chain.world.rows()
        self.outcome.documents = len(rows)
        self.outcome.tombstones = sum(gone for _rev, gone, _doc in rows.values())
        self.outcome.lost += sum(rows.get(one) != winner for one, winner in winners.items())
        self.outcome.lost += sum(len(ids) for ids in found(self._chain.world.verify()).values())
        ((modelled, distinct),) = self._chain.world.installation.query(
            "select count(*), count(distinct uuid) from dbt.documents"
        )
        self.outcome.doubled += len(rows.keys() - winners.keys()) + modelled - distinct
        self.outcome.dead_letters = len(self._chain.world.letters())
        self.outcome.tracebacks += sum("Traceback" in part.news() for part in self._ours)
        self.outcome.comparisons += 1

    def _look_at_memory(self) -> None:
        for part in self._ours:
            # One may end between two lines.
            with contextlib.suppress(OSError, ValueError):
                before = self.outcome.peak_memory.get(part.name, 0)
                self.outcome.peak_memory[part.name] = max(before, peak_memory(part.pid))

    @property
    def _ours(self) -> tuple[Part, ...]:
        return (self._chain.postgrest, self._chain.logstash, self._chain.dbt)

    def _tell(self) -> None:
        one = self.outcome
        print(
            f"{one.seconds / 60:.0f} min: {one.writes} writes, {one.documents} documents "
            f"({one.tombstones} deleted), {sum(one.faults.values())} faults; lost {one.lost}, doubled "
            f"{one.doubled}, dead letters {one.dead_letters}, tracebacks {one.tracebacks}; caught up after "
            f"{one.longest_recovery:.1f} s at most; ended only by force {dict(one.ended_only_by_force)}; "
            + ", ".join(f"{name} {peak >> 20} MB" for name, peak in one.peak_memory.items()),
            flush=True,
        )


def main() -> int:
    """Exit code 1 where anything was lost, doubled or set aside."""
    parser = argparse.ArgumentParser(description="People at work and faults at random moments.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    given = parser.parse_args()
    print(f"seed {given.seed}, {os.cpu_count()} processors", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as home:
        chain = Chain(Path(home))
        try:
            chain.start()
            soak = Soak(chain, given.seed)
            soak.run(given.minutes * 60)
        finally:
            chain.close()
    if given.output is not None:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(json.dumps(vars(soak.outcome), indent=2) + "\n")
    print("nothing lost" if soak.outcome.is_good else "NOT GOOD")
    return 0 if soak.outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
