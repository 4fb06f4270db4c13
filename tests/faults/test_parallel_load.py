"""A parallel load whose workers, servers and pipeline are killed at random moments, while people write."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading

import psutil

from cht_sync import process
from cht_sync.runtime.service import inherited_environment
from faults.chain import DATABASE, Chain
from faults.extent import ALL

KILLS = 60 if ALL else 12
DOCUMENTS = 3_000
SETTINGS_REFUSED = 2
KILL, IMMEDIATE = signal.SIGKILL, signal.SIGQUIT


class Loading:
    """`cht-sync load` as an operator starts it, again and again until it has done all."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._log = chain.home / "load.log"
        self.starts = 0
        self.ends = 0

    def start(self, *words: str) -> None:
        command = [sys.executable, "-m", "cht_sync", "load", DATABASE, "--env", "gamma", *words]
        self._running: subprocess.Popen[bytes] = process.start(
            [*command, "--workers", "3", "--chunk-size", "25"],
            log=self._log,
            env={**inherited_environment(), **self._chain.environment("warehouse")},
        )
        self.starts += 1

    def goes_on(self) -> None:
        """Start it again where it has ended; anew where it had done all."""
        if self._running.poll() is None:
            return
        assert self._running.returncode != SETTINGS_REFUSED, self.said()
        ended_well = self._running.returncode == 0
        self.ends += ended_well
        self.start(*(["--restart"] if ended_well else []))

    def kill(self, way: signal.Signals) -> None:
        """Whoever began it."""
        self._running.send_signal(way)
        self._running.wait(60)

    def kill_a_worker(self, dice: random.Random) -> None:
        """One of its processes, if there is any."""
        try:
            workers = psutil.Process(self._running.pid).children()
        except psutil.NoSuchProcess:
            return
        if workers:
            os.kill(dice.choice(workers).pid, KILL)

    def done(self) -> bool:
        """Whether it has ended with success; else it is started again where it has ended."""
        if self._running.poll() == 0:
            return True
        if self._running.poll() is not None:
            self.start()
        return False

    def said(self) -> str:
        return self._log.read_text(errors="replace")


def test_a_load_whose_parts_are_killed_at_random_moments_loses_and_doubles_nothing(
    chain: Chain, dice: random.Random
) -> None:
    chain.logstash.kill()
    for start in range(0, DOCUMENTS, 500):
        chain.world.put(*[f"{dice.getrandbits(32):08x}-{n}" for n in range(start, start + 500)], type="place")
    loading = Loading(chain)
    loading.start("--restart")
    ways = (
        lambda: loading.kill(KILL),
        lambda: loading.kill(signal.SIGTERM),
        lambda: loading.kill_a_worker(dice),
        lambda: loading.kill_a_worker(dice),
        lambda: chain.postgres.signal(dice.choice((KILL, IMMEDIATE))),
        lambda: chain.couchdb.signal(KILL),
        chain.logstash.kill,
    )
    moment = threading.Event()
    plan = [ways[number % len(ways)] for number in range(KILLS)]
    dice.shuffle(plan)
    chain.restart(chain.logstash)
    with chain.load(dice.getrandbits(32)) as people:
        for kill in plan:
            moment.wait(dice.uniform(0, 1.0))
            loading.goes_on()
            moment.wait(dice.uniform(0, 1.5))
            kill()
            for part in chain.parts:
                chain.restart(part)
        chain.until(loading.done)
    print(f"{KILLS} kills, {loading.starts} starts, {loading.ends} ends, {people.written} documents written")
    chain.caught_up()
    chain.models_caught_up()
    chain.proves_itself()
    assert "Traceback" not in loading.said(), loading.said()
