"""Every fault between every two parts, while people write: it heals by itself, and nothing is missing."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from faults.chain import CONNECTIONS, Chain
from faults.extent import ALL, SEED
from faults.proxy import (
    Answer,
    Cut,
    Delay,
    Fault,
    Garbage,
    HalfClose,
    HalfCloseToServer,
    Hang,
    Reset,
    Short,
    Truncate,
    TruncateRequests,
)

Make = Callable[[random.Random], Fault]

EVERYWHERE: dict[str, Make] = {
    "cut": lambda _dice: Cut(),
    "reset": lambda _dice: Reset(),
    "delay": lambda _dice: Delay(),
    "half-close of answers": lambda _dice: HalfClose(),
    "half-close of requests": lambda _dice: HalfCloseToServer(),
    "truncated answers": Truncate,
    "truncated requests": TruncateRequests,
    "garbage": Garbage,
    "connections of 100 ms": lambda _dice: Short(),
}
PAGE = b"<!DOCTYPE html><html><body><h1>Sign in to the network</h1></body></html>"
OVER_HTTP: dict[str, Make] = {
    "HTML page with 200": lambda _dice: Answer("200 OK", PAGE, "Content-Type: text/html"),
    "HTML page with 502": lambda _dice: Answer("502 Bad Gateway", PAGE, "Content-Type: text/html"),
    "429": lambda _dice: Answer("429 Too Many Requests", b"{}", "Content-Type: application/json"),
    "429 for a second": lambda _dice: Answer("429 Too Many Requests", b"", "Retry-After: 1"),
}
HTTP = ("source", "ingest")
HANGS: dict[str, Make] = {
    "hang": lambda _dice: Hang(),
    "hang in a statement": lambda _dice: Hang(at_once=True),
}
"""What waits for an answer over HTTP gives up after some seconds; PostgreSQL may think for hours."""
CASES = [
    (connection, fault)
    for connection in CONNECTIONS
    for fault in (*EVERYWHERE, *((*OVER_HTTP, "hang") if connection in HTTP else ("hang in a statement",)))
]
TIMES = 3
MOST_TRIES_A_SECOND = 100
"""A loop without a pause makes thousands."""


def chosen() -> list[tuple[str, str]]:
    """All of them, or each fault once, somewhere."""
    if ALL:
        return CASES
    dice = random.Random(SEED)
    faults = dict.fromkeys(fault for _connection, fault in CASES)
    return [dice.choice([case for case in CASES if case[1] == fault]) for fault in faults]


@pytest.mark.parametrize(("connection", "kind"), chosen())
def test_a_fault_between_two_parts_heals(
    chain: Chain, dice: random.Random, connection: str, kind: str
) -> None:
    proxy = chain.proxies[connection]
    fault = {**EVERYWHERE, **OVER_HTTP, **HANGS}[kind](dice)
    with chain.load(dice.getrandbits(32)):
        chain.moves()
        before, began = proxy.tries, time.monotonic()
        with proxy.faulty(fault):
            fault.felt(1 if kind in HANGS else TIMES)
            tries, seconds = proxy.tries - before, time.monotonic() - began
        chain.moves()
    print(f"{connection}, {kind}: {tries} tries in {seconds:.1f} s")
    assert tries < MOST_TRIES_A_SECOND * (1 + seconds)
    chain.caught_up()
    chain.models_caught_up()
    chain.proves_itself()
