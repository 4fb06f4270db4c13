"""Parts that are killed at random moments, while people write: nothing is lost, nothing is doubled."""

from __future__ import annotations

import random
import signal
import threading

from faults.chain import Chain
from faults.extent import ALL

KILLS = 200 if ALL else 20
KILL, IMMEDIATE = signal.SIGKILL, signal.SIGQUIT
"""PostgreSQL takes the second for what `pg_ctl stop -m immediate` sends."""


def test_parts_that_are_killed_at_random_moments_lose_nothing_and_double_nothing(
    chain: Chain, dice: random.Random
) -> None:
    ways = [
        (chain.logstash, KILL),
        (chain.postgrest, KILL),
        (chain.postgres, KILL),
        (chain.postgres, IMMEDIATE),
        (chain.couchdb, KILL),
        (chain.dbt, KILL),
    ]
    moment = threading.Event()
    # Each way equally often, in an order that nobody would think of.
    plan = [ways[number % len(ways)] for number in range(KILLS)]
    dice.shuffle(plan)
    with chain.load(dice.getrandbits(32)) as load:
        for number, (part, way) in enumerate(plan):
            if number % 5 == 0:
                chain.moves()
            moment.wait(dice.uniform(0, 0.4))
            part.signal(way)
            moment.wait(dice.choice((0, 0, dice.uniform(0, 0.5))))
            chain.restart(part, waits=dice.random() < 0.5)
        for part in chain.parts:
            chain.restart(part)
        chain.moves()
    print(f"{KILLS} kills, {load.written} documents written, {load.rounds} rounds")
    chain.caught_up()
    chain.models_caught_up()
    chain.proves_itself()
