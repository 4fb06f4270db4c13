"""Clocks that jump: of the engine, which signs its requests, and of PostgreSQL, which stamps the rows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.chain import Chain
from faults.parts import FAKETIME, Part, with_clock

pytestmark = pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime, Debian's package faketime")


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    one = Chain(tmp_path)
    try:
        one.start()
        yield one
    finally:
        one.close()


def with_a_clock_of_its_own(chain: Chain, part: Part, folder: Path) -> Path:
    """Start a part again with a clock that the returned file sets."""
    clock = folder / "clock"
    clock.write_text("+0")
    clock.chmod(0o644)
    part.stop()
    if part is chain.postgres:
        part.service.prepare(print)
    part.start(**with_clock(clock))
    part.ready()
    return clock


@pytest.mark.parametrize(("jump", "signs_anew"), [("+1d", True), ("-1d", False)])
def test_a_clock_of_the_engine_that_jumps_loses_nothing_and_is_named(
    chain: Chain, dice: random.Random, tmp_path: Path, jump: str, signs_anew: bool
) -> None:
    clock = with_a_clock_of_its_own(chain, chain.logstash, tmp_path)
    with chain.load(dice.getrandbits(32)):
        clock.write_text(jump)
        if signs_anew:
            chain.says(chain.logstash, "PGRST303")
        else:
            # By its clock the token that it has ends tomorrow; by PostgREST's, in some minutes.
            chain.moves()
        # What signs its requests anew is refused, and says why.
        chain.logstash.kill()
        chain.logstash.start(**with_clock(clock))
        chain.says(chain.logstash, "PGRST303")
        chain.says(chain.logstash, "clock")
        chain.stands_still()
        clock.write_text("+0")
        chain.moves()
    chain.caught_up()
    chain.proves_itself()


def test_a_clock_of_postgresql_that_jumps_back_keeps_stamps_in_the_order_of_writing(
    chain: Chain, dice: random.Random, tmp_path: Path
) -> None:
    clock = with_a_clock_of_its_own(chain, chain.postgres, tmp_path)
    with chain.load(dice.getrandbits(32)):
        chain.moves()
        (before,) = chain.world.query("select max(saved_timestamp) from {}")
        clock.write_text("-2h")
        chain.moves()
        (after,) = chain.world.query("select max(saved_timestamp) from {}")
        assert after > before
        clock.write_text("+2h")
        chain.moves()
        clock.write_text("+0")
        chain.moves()
    chain.caught_up()
    # Models that ask for what is later than the last of theirs would miss what is stamped earlier.
    chain.models_caught_up()
    chain.proves_itself()
